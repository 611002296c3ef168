"""Sources: files in full, live streams at their newest, and every kind of failure as a typed error."""

import asyncio
import sys
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from streamer.bench.scene import CLIP_FRAMES
from streamer.config import StreamSettings
from streamer.errors import (
    CorruptError,
    DisconnectedError,
    NotFoundError,
    NotVideoError,
    SourceError,
    SourceTimeoutError,
    StreamerError,
    UnauthorizedError,
    UnreachableError,
)
from streamer.face import Frame
from streamer.media import demo
from streamer.media.address import resolve
from streamer.media.source import StateChange
from tests.conftest import host, opened
from tests.servers.clips import FOLDER, draw, read_number, remux
from tests.servers.http import HttpServer
from tests.servers.rtsp import RtspServer
from tests.servers.session import Access

NUMBERED = 50


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds in which each picture shows its number."""
    return draw(tmp_path_factory.mktemp("clips") / "numbered.mp4", frames=NUMBERED)


async def read_all(url: str) -> tuple[list[Frame], list[StateChange]]:
    frames, states = [], []
    async for item in opened(StreamSettings(url)):
        if isinstance(item, Frame):
            frames.append(item)
        else:
            states.append(item)
    return frames, states


async def failure(url: str) -> StreamerError:
    """The error that the first state after connecting comes with."""
    source = opened(StreamSettings(url, open_timeout=1, stall=1))
    async with aclosing(source):
        async for item in source:
            if isinstance(item, StateChange) and item.error:
                return item.error
    raise AssertionError("it did not fail")


def number_in(frame: Frame) -> int:
    return read_number(frame.pixels()[:, :, ::-1])


async def test_a_file_gives_every_frame_in_order(numbered: Path) -> None:
    frames, states = await read_all(str(numbered))
    assert [f.seq for f in frames] == [f.index for f in frames] == list(range(NUMBERED))
    assert [number_in(f) for f in frames] == list(range(NUMBERED))
    assert not any(f.skipped for f in frames)
    assert [s.state for s in states] == ["connecting", "live", "ended"]
    assert states[-1].error is None
    np.testing.assert_allclose([f.at for f in frames], np.arange(NUMBERED) / 25, atol=1e-6)
    assert frames[0].clock == "file"
    assert (frames[0].width, frames[0].height) == (320, 240)


@pytest.mark.parametrize("name", ["videos/webcam_man_cap13.mp4", "videos/man_1080p_baseline.mp4"])
async def test_recorded_clips_are_read_to_their_last_frame(name: str) -> None:
    path = FOLDER / name
    if not path.is_file():
        pytest.skip(f"recorded clip {name} is not on this machine")
    with av.open(str(path)) as container:
        expected = sum(1 for _ in container.decode(video=0))
    frames, states = await read_all(str(path))
    assert len(frames) == expected
    assert states[-1].state == "ended"


async def test_a_rotated_recording_is_shown_upright(numbered: Path, tmp_path: Path) -> None:
    rotated = remux(numbered, tmp_path / "rotated.mp4")
    frames, _ = await read_all(str(rotated))
    upright = frames[0].pixels()
    set_rotation(rotated)
    frames, _ = await read_all(str(rotated))
    assert (frames[0].width, frames[0].height) == (240, 320)
    turned = frames[0].pixels()
    assert turned.shape == (320, 240, 3)
    np.testing.assert_array_equal(turned, np.rot90(upright, 3))


def set_rotation(path: Path) -> None:
    """Write a quarter turn clockwise into the track's display matrix (ISO/IEC 14496-12, `tkhd`)."""
    data = bytearray(path.read_bytes())
    identity = b"".join(n.to_bytes(4, "big") for n in (0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000))
    quarter = b"".join(n.to_bytes(4, "big") for n in (0, 0x10000, 0, 0xFFFF0000, 0, 0, 0, 0, 0x40000000))
    at = data.index(identity, data.index(b"tkhd"))
    data[at : at + len(identity)] = quarter
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (None, NotFoundError),
        (b"", NotVideoError),
        (b"just some text\n" * 9, NotVideoError),
        (bytes(range(256)) * 400, NotVideoError),
    ],
)
async def test_what_is_no_video_is_said(tmp_path: Path, content: bytes | None, kind: type[SourceError]) -> None:
    path = tmp_path / "clip.mp4"
    if content is not None:
        path.write_bytes(content)
    frames, states = await read_all(str(path))
    assert frames == []
    assert [s.state for s in states] == ["connecting", "ended"]
    assert type(states[-1].error) is kind
    assert states[-1].error.hint


async def test_a_folder_is_not_a_video(tmp_path: Path) -> None:
    assert isinstance(await failure(str(tmp_path)), NotVideoError)


async def test_a_truncated_file_gives_what_it_holds_and_then_the_error(face_clip: Path, tmp_path: Path) -> None:
    # With its index in front, as recorders and web servers write it.
    whole = remux(face_clip, tmp_path / "fast.mp4", options={"movflags": "faststart"})
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    frames, states = await read_all(str(cut))
    assert 10 < len(frames) < CLIP_FRAMES
    assert isinstance(states[-1].error, CorruptError)
    assert f"{len(frames)} pictures could be decoded of {CLIP_FRAMES}" in states[-1].error.message


async def test_a_slow_taker_of_a_live_stream_gets_the_newest_and_every_frame_has_its_place(numbered: Path) -> None:
    async with RtspServer({"cam": numbered}) as server:
        source = opened(StreamSettings(server.url("cam")))
        async with aclosing(source):
            seen: list[Frame] = []
            while sum(not f.skipped for f in seen) < 5:
                item = await anext(source)
                if isinstance(item, Frame):
                    seen.append(item)
                    if not item.skipped:
                        await later(server, 6)
    assert [f.seq for f in seen] == list(range(len(seen)))
    assert {f.skipped for f in seen} == {None, "superseded"}
    shown = [number_in(f) for f in seen if not f.skipped]
    assert max((b - a) % NUMBERED for a, b in pairwise(shown)) >= 4


async def later(server: RtspServer, frames: int) -> None:
    """Once the camera has sent so many more frames."""
    goal = server.stats.frames + frames
    await server.until(lambda stats: stats.frames >= goal)


async def test_a_live_stream_that_comes_back_goes_on_counting(numbered: Path) -> None:
    async with RtspServer({"cam": numbered}) as server:
        source = opened(StreamSettings(server.url("cam"), retry_min=0.1, retry_max=0.2, stall=1))
        states: list[str] = []
        seqs: list[int] = []
        async with aclosing(source), asyncio.timeout(20):
            async for item in source:
                if isinstance(item, StateChange):
                    states.append(item.state)
                    if item.state == "offline":
                        assert isinstance(item.error, DisconnectedError | UnreachableError)
                        await server.restart()
                else:
                    seqs.append(item.seq)
                    if len(seqs) == 10:
                        await server.kill()
                    if states.count("live") == 2 and len(seqs) > 20:
                        break
    assert states[:2] == ["connecting", "live"]
    assert states[-1] == "live"
    assert "offline" in states
    assert seqs == list(range(len(seqs)))


async def test_a_frozen_stream_is_noticed(numbered: Path) -> None:
    async with RtspServer({"cam": numbered}) as server:
        source = opened(StreamSettings(server.url("cam"), retry_min=0.1, stall=0.5))
        async with aclosing(source), asyncio.timeout(20):
            frames, last = 0, None
            async for item in source:
                if isinstance(item, Frame):
                    frames += 1
                    if frames == 5:
                        server.fault("cam", stalled=True)
                    last = item
                elif item.error:
                    break
        # What FFmpeg held back until its patience ended is not shown as live.
        assert last is not None
        assert last.skipped == "stale"
    assert isinstance(item, StateChange)
    assert item.state == "stalled"
    assert isinstance(item.error, SourceTimeoutError)


@pytest.mark.parametrize(("refuse", "kind"), [(401, UnauthorizedError), (404, NotFoundError), (403, UnauthorizedError)])
async def test_a_server_that_refuses_is_understood(numbered: Path, refuse: int, kind: type[SourceError]) -> None:
    async with RtspServer({"cam": numbered}) as server:
        server.fault("cam", refuse=refuse)
        assert isinstance(await failure(server.url("cam")), kind)


async def test_a_server_that_never_answers_is_given_up(numbered: Path) -> None:
    async with RtspServer({"cam": numbered}) as server:
        server.fault("cam", black_hole=True)
        assert isinstance(await failure(server.url("cam")), SourceTimeoutError)


@pytest.mark.parametrize("kind", ["basic", "digest"])
async def test_user_and_password_are_settings(numbered: Path, kind: str) -> None:
    access = Access(kind, "us er", "p@ss:w/rd?%41")  # type: ignore[arg-type]  # parametrised literal
    async with RtspServer({"cam": numbered}, access=access) as server:
        right = opened(StreamSettings(server.url("cam"), user=access.user, password=access.password))
        async with aclosing(right), asyncio.timeout(20):
            states = [item.state for item in [await anext(right), await anext(right)] if isinstance(item, StateChange)]
        assert states == ["connecting", "live"]
        wrong = opened(StreamSettings(server.url("cam"), user=access.user, password="w0rd"))
        async with aclosing(wrong), asyncio.timeout(20):
            async for item in wrong:
                if isinstance(item, StateChange) and item.error:
                    break
        assert isinstance(item, StateChange)
        assert isinstance(item.error, UnauthorizedError)
        assert "w0rd" not in str(item.error)


@pytest.mark.parametrize("url", ["rtsp://127.0.0.1:9/x", "http://127.0.0.1:9/x.m3u8", "rtsp://nowhere.invalid/x"])
async def test_nobody_there(url: str) -> None:
    assert isinstance(await failure(url), UnreachableError)


@pytest.mark.parametrize("kind", ["mjpeg", "file", "hls"])
async def test_video_over_http(face_clip: Path, tmp_path: Path, kind: str) -> None:
    with HttpServer() as server:
        url = server.hls("cam", face_clip, tmp_path) if kind == "hls" else getattr(server, kind)("cam", face_clip)
        source = opened(StreamSettings(url))
        async with aclosing(source), asyncio.timeout(30):
            frames = []
            async for item in source:
                if isinstance(item, Frame):
                    frames.append(item)
                if len(frames) == 20:
                    break
    assert [f.seq for f in frames] == list(range(20))
    assert frames[0].pixels().shape == (720, 1280, 3)
    assert frames[0].clock == ("host" if kind == "mjpeg" else "file")


async def test_a_capture_device_through_its_format() -> None:
    source = opened(StreamSettings("testsrc=size=320x240:rate=25,realtime", format="lavfi"))
    async with aclosing(source), asyncio.timeout(20):
        items = [await anext(source) for _ in range(12)]
    frames = [item for item in items if isinstance(item, Frame)]
    assert frames[-1].pixels().shape == (240, 320, 3)
    assert frames[-1].clock == "host"


@pytest.mark.skipif(sys.platform != "linux", reason="webcams are v4l2 devices on Linux only")
def test_webcams_by_number_and_path() -> None:
    for url in ("0", "/dev/video0"):
        where = resolve(StreamSettings(url))
        assert (where.kind, where.url, where.format, where.live) == ("webcam", "/dev/video0", "v4l2", True)


async def test_a_missing_webcam_is_said() -> None:
    assert isinstance(await failure("/dev/video77"), NotFoundError)


def test_an_address_of_no_known_kind_is_refused() -> None:
    with pytest.raises(SourceError, match="gopher://"):
        resolve(StreamSettings("gopher://x/y"))


async def test_the_demo_is_a_live_camera_over_the_portrait(portrait_path: Path) -> None:
    source = opened(StreamSettings("demo"), host(portrait_path))
    async with aclosing(source), asyncio.timeout(20):
        items = [await anext(source) for _ in range(12)]
    frames = [item for item in items if isinstance(item, Frame)]
    assert frames[-1].pixels().shape == (demo.HEIGHT, demo.WIDTH, 3)
    assert not np.array_equal(frames[0].pixels(), frames[-1].pixels())
    steps = np.diff([f.at for f in frames])
    assert 0.02 < float(np.median(steps)) < 0.08
