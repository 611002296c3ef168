"""The test cameras themselves, seen through the library that the product sees cameras with."""

from __future__ import annotations

import asyncio
import itertools
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import av
import pytest
from hypothesis import given, strategies

from . import clips, gst, rtp
from .http import HttpServer
from .rtsp import RtspProcess, RtspServer
from .session import Access
from .tls import self_signed

FRAMES = 50
"""Length of the drawn clip, two seconds; its pictures are numbered."""

FAST = {"fpsprobesize": "0", "rtp_set_prft": "1"}
"""Opens without waiting for frames to measure their rate; attaches the camera's clock to packets."""


@dataclass
class Seen:
    """What a client got: when, which picture, how wide, captured when by the camera's clock (or nan)."""

    at: list[float] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    widths: list[int] = field(default_factory=list)
    captured: list[float] = field(default_factory=list)


def watch(url: str, *, transport: str = "tcp", patience: float = 1.0) -> Iterator[Seen]:
    """Looks at a stream; yields what was seen so far after each frame."""
    seen, captured = Seen(), float("nan")
    options = FAST | ({"rtsp_transport": transport} if url.startswith("rtsp") else {})
    with av.open(url, options=options, timeout=(3.0, patience)) as container:
        for packet in container.demux(container.streams.video[0]):
            if packet.has_sidedata("prft"):  # AVProducerReferenceTime: microseconds since 1970, then flags
                captured = struct.unpack_from("=q", bytes(packet.get_sidedata("prft")))[0] / 1e6
            for frame in packet.decode():
                image = frame.to_ndarray(format="rgb24").astype("uint8")
                seen.at.append(time.monotonic())
                seen.numbers.append(clips.read_number(image))
                seen.widths.append(frame.width)
                seen.captured.append(captured)
                yield seen


def first(url: str, frames: int, *, transport: str = "tcp", patience: float = 1.0) -> Seen:
    for seen in watch(url, transport=transport, patience=patience):
        if len(seen.at) >= frames:
            return seen
    raise AssertionError("the stream ended")


def follow_on(numbers: list[int]) -> bool:
    """Whether the pictures came one after the other, the clip round and round, none lost and none twice."""
    return all(after == (before + 1) % FRAMES for before, after in itertools.pairwise(numbers))


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clips.draw(tmp_path_factory.mktemp("clips") / "drawn.mp4", frames=FRAMES)


@pytest.fixture(scope="session")
def camera(drawn: Path) -> Iterator[RtspProcess]:
    with RtspProcess({"cam": drawn}) as server:
        yield server


@pytest.fixture
def healthy(camera: RtspProcess) -> Iterator[RtspProcess]:
    """A camera whose faults are put right again after the test."""
    yield camera
    camera.restart()
    camera.fault(
        stalled=False,
        black_hole=False,
        refuse=None,
        loss=0.0,
        corrupt=0.0,
        clock_offset=0.0,
        sender_reports=True,
    )


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_every_picture_comes_once_and_in_real_time(camera: RtspProcess, transport: str) -> None:
    seen = first(camera.url("cam"), FRAMES + 20, transport=transport)
    assert follow_on(seen.numbers)
    assert (seen.at[-1] - seen.at[20]) * 25 == pytest.approx(FRAMES - 1, abs=3)


def test_a_recorded_clip_with_reordered_pictures_arrives_bit_for_bit() -> None:
    path = clips.clip("tracking/two_speakers_240p.mp4")
    with av.open(str(path)) as file:
        frames = itertools.islice(file.decode(video=0), 20)
        want = [frame.to_ndarray().tobytes() for frame in frames]
    with (
        RtspProcess({"cam": path}) as server,
        av.open(server.url("cam"), options={"rtsp_transport": "tcp"}, timeout=(3.0, 2.0)) as stream,
    ):
        got = [frame.to_ndarray().tobytes() for frame in itertools.islice(stream.decode(video=0), 20)]
    assert got == want


def test_h265_is_served_too(tmp_path: Path) -> None:
    path = clips.draw(tmp_path / "h265.mp4", codec="libx265", frames=FRAMES)
    with RtspProcess({"cam": path}) as server:
        assert follow_on(first(server.url("cam"), 30).numbers)


@pytest.mark.parametrize("kind", ["basic", "digest"])
def test_only_the_right_password_opens(drawn: Path, kind: Literal["basic", "digest"]) -> None:
    with RtspProcess({"cam": drawn}, access=Access(kind)) as server:
        with pytest.raises(av.error.HTTPUnauthorizedError):
            first(server.url("cam"), 1)
        with pytest.raises(av.error.HTTPUnauthorizedError):
            first(server.url("cam", credentials=True).replace("viewer:", "viewer:x"), 1)
        assert first(server.url("cam", credentials=True), 1).numbers == [0]


def test_tls(drawn: Path, tmp_path: Path) -> None:
    with RtspProcess({"cam": drawn}, certificate=self_signed(tmp_path)) as server:
        assert server.url("cam").startswith("rtsps:")
        assert follow_on(first(server.url("cam"), 10).numbers)


def test_a_killed_camera_ends_the_stream_and_comes_back_on_the_same_port(healthy: RtspProcess) -> None:
    for seen in watch(healthy.url("cam")):
        if len(seen.at) == 10:
            healthy.kill()
    assert healthy.stats.open == 0
    with pytest.raises(ConnectionRefusedError):
        first(healthy.url("cam"), 1)
    healthy.restart()
    assert first(healthy.url("cam"), 1).numbers == [0]


def test_a_kicked_client_may_come_again_at_once(healthy: RtspProcess) -> None:
    for seen in watch(healthy.url("cam")):
        if len(seen.at) == 10:
            healthy.kick()
    assert first(healthy.url("cam"), 1).numbers == [0]


def test_a_stalled_camera_keeps_its_connections(healthy: RtspProcess) -> None:
    stream = watch(healthy.url("cam"), patience=0.3)
    next(stream)
    healthy.fault(stalled=True)
    assert healthy.until(lambda stats: stats.stalled == 1).open == 1
    with pytest.raises(av.error.ExitError):
        list(stream)
    healthy.until(lambda stats: stats.live == 0)


def test_after_a_stall_the_stream_goes_on_with_a_key_picture(healthy: RtspProcess) -> None:
    stream = watch(healthy.url("cam"))
    next(stream)
    healthy.fault(stalled=True)
    healthy.until(lambda stats: stats.stalled == 1)
    healthy.fault(stalled=False)
    numbers = next(seen.numbers for seen in stream if len(seen.numbers) > 20)
    jumps = [after for before, after in itertools.pairwise(numbers) if after != (before + 1) % FRAMES]
    assert jumps == [25]


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (401, av.error.HTTPUnauthorizedError),
        (404, av.error.HTTPNotFoundError),
        (453, av.error.HTTPOtherClientError),
        (503, av.error.HTTPServerError),
    ],
)
def test_refusals(healthy: RtspProcess, code: int, error: type[Exception]) -> None:
    healthy.fault("cam", refuse=code)
    with pytest.raises(error):
        first(healthy.url("cam"), 1)


def test_a_black_hole_takes_the_whole_timeout(healthy: RtspProcess) -> None:
    healthy.fault(black_hole=True)
    start = time.monotonic()
    with pytest.raises(av.error.InvalidDataError):
        av.open(healthy.url("cam"), timeout=(0.5, 0.5))
    assert time.monotonic() - start == pytest.approx(0.5, abs=0.3)


def test_a_mount_changes_its_clip_in_mid_stream(healthy: RtspProcess, drawn: Path, tmp_path: Path) -> None:
    wide = clips.draw(tmp_path / "wide.mp4", width=640, height=360, frames=FRAMES)
    for seen in watch(healthy.url("cam")):
        if len(seen.at) == 10:
            healthy.switch("cam", wide)
        if len(seen.at) == 40:
            break
    healthy.switch("cam", drawn)
    sizes = [width for width, _ in itertools.groupby(seen.widths)]
    assert sizes == [320, 640]
    assert seen.numbers[seen.widths.index(640)] == 0


def test_loss_and_corruption_are_counted_and_do_not_end_the_stream(healthy: RtspProcess) -> None:
    before = healthy.stats
    healthy.fault(loss=0.2, corrupt=0.2)
    for transport in ("tcp", "udp"):
        first(healthy.url("cam"), 30, transport=transport)
    after = healthy.stats
    sent = after.packets - before.packets
    lost = after.lost - before.lost
    assert lost / (sent + lost) == pytest.approx(0.2, abs=0.15)
    assert (after.corrupted - before.corrupted) / sent == pytest.approx(0.2, abs=0.15)


@pytest.mark.parametrize("offset", [0.0, 3600.0, -5.0])
def test_sender_reports_tell_the_cameras_clock(healthy: RtspProcess, offset: float) -> None:
    healthy.fault(clock_offset=offset)
    seen = first(healthy.url("cam"), 3)
    assert seen.captured[0] - time.time() == pytest.approx(offset, abs=1.0)


def test_without_sender_reports_there_is_no_camera_clock(healthy: RtspProcess) -> None:
    healthy.fault(sender_reports=False)
    assert first(healthy.url("cam"), 3).captured == pytest.approx([float("nan")] * 3, nan_ok=True)


def test_in_this_process(drawn: Path) -> None:
    async def scene() -> None:
        async with RtspServer({"cam": drawn}) as server:
            client = asyncio.create_task(asyncio.to_thread(lambda: list(watch(server.url("cam")))[-1]))
            await server.until(lambda stats: stats.frames > 10)
            assert server.stats.live == server.stats.open == server.stats.connections == 1
            await server.kill()
            assert server.stats.live == server.stats.open == 0
            assert follow_on((await client).numbers)

    asyncio.run(scene())


def test_one_process_may_have_many_mounts_and_an_unknown_one_is_not_found(drawn: Path) -> None:
    with RtspProcess({"front/main": drawn, "back": drawn}) as server:
        server.fault("back", refuse=404)
        assert first(server.url("front/main"), 1).numbers == [0]
        for mount in ("back", "side"):
            with pytest.raises(av.error.HTTPNotFoundError):
                first(server.url(mount), 1)
        with pytest.raises(RuntimeError, match="los"):
            server.fault(los=0.1)


@given(strategies.binary(min_size=4, max_size=400), strategies.integers(10, 100), strategies.booleans())
def test_fragments_join_to_the_nal_unit_again(nal: bytes, mtu: int, h264: bool) -> None:
    codec: rtp.Codec = "H264" if h264 else "H265"
    clip = rtp.Clip(codec, 0, 0, 25.0, 1.0, (), ())
    parts = rtp.payloads(clip, rtp.AccessUnit(0.0, 0.0, False, (nal,)), mtu)
    assert all(len(part) <= mtu for part in parts)
    if len(nal) <= mtu:
        assert parts == [nal]
    elif h264:
        assert bytes([parts[0][0] & 0xE0 | parts[0][1] & 0x1F]) + b"".join(part[2:] for part in parts) == nal
    else:
        header = bytes([parts[0][0] & 0x81 | (parts[0][2] & 0x3F) << 1, parts[0][1]])
        assert header + b"".join(part[3:] for part in parts) == nal


@pytest.mark.skipif(gst.missing() is not None, reason=str(gst.missing()))
@pytest.mark.parametrize("kind", [None, "basic", "digest"])
def test_gst_rtsp_server(drawn: Path, kind: Literal["basic", "digest"] | None) -> None:
    with gst.GstProcess({"cam": drawn}, access=Access(kind) if kind else None) as server:
        assert follow_on(first(server.url("cam", credentials=True), 60).numbers)
        if kind:
            with pytest.raises(av.error.HTTPUnauthorizedError):
                first(server.url("cam"), 1)


def test_http(drawn: Path, tmp_path: Path) -> None:
    with HttpServer() as server:
        moving = server.mjpeg("cam", drawn)
        seen = first(moving, 26)
        assert follow_on(seen.numbers)
        assert (seen.at[-1] - seen.at[0]) * 25 == pytest.approx(25, abs=3)
        for url in (server.file("clip.mp4", drawn), server.hls("list", drawn, tmp_path)):
            assert list(watch(url))[-1].numbers == list(range(FRAMES))
        stream = watch(moving, patience=0.3)
        next(stream)
        server.flowing.clear()
        with pytest.raises(av.error.ExitError):
            list(stream)
        with pytest.raises(av.error.HTTPNotFoundError):
            first(server.url("nothing"), 1)


def test_http_with_a_password(drawn: Path) -> None:
    with HttpServer(access=Access("basic")) as server:
        with pytest.raises(av.error.HTTPUnauthorizedError):
            first(server.mjpeg("cam", drawn), 1)
        assert first(server.url("cam", credentials=True), 1).numbers == [0]
