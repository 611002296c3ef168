"""Damaged streams: what is processed looks as it was sent, and nothing undamaged is passed over."""

import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from threading import Lock
from typing import cast

import av
import cv2
import numpy as np
import pytest
from av.packet import Packet
from av.video.stream import VideoStream

from streamer.config import StreamSettings
from streamer.errors import CorruptError
from streamer.face import Frame, Pixels
from streamer.media.address import resolve
from streamer.media.damage import Damage
from streamer.media.h264 import length_prefixed
from streamer.media.opening import Opening
from streamer.media.video import read_video
from tests.conftest import host
from tests.servers.clips import clip, draw, draw_number, read_number
from tests.servers.rtsp import RtspProcess

FRAMES, GOP = 60, 10
CLIPS = ("h264", "h264 reordered", "h265")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("clips")
    return {
        "h264": draw(folder / "h264.mp4", frames=FRAMES, gop=GOP),
        "h264 large": draw(folder / "large.mp4", frames=FRAMES, gop=GOP, width=1920, height=1080),
        "h264 reordered": _reordered(folder / "reordered.mp4"),
        "h265": draw(folder / "h265.mp4", frames=FRAMES, gop=GOP, codec="libx265"),
    }


def _reordered(path: Path) -> Path:
    """The numbered clip with B-frames: pictures are sent in another order than they are shown."""
    with av.open(str(path), "w") as writer:
        options = {"bf": "3", "preset": "veryfast", "x264-params": f"keyint={GOP}:min-keyint={GOP}:scenecut=0"}
        stream = writer.add_stream("libx264", rate=Fraction(25), options=options)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for number in range(FRAMES):
            image = av.VideoFrame.from_ndarray(draw_number(number, 320, 240), format="rgb24")
            writer.mux(stream.encode(image))
        writer.mux(stream.encode())
    return path


def looks(path: Path) -> list[Pixels]:
    """The pictures of a clip as they are when nothing is lost."""
    with av.open(str(path)) as container:
        return [picture.to_ndarray(format="bgr24").astype(np.uint8) for picture in container.decode(video=0)]


def differs(one: Pixels, other: Pixels) -> bool:
    """By more than two grey levels in some part of the picture."""
    rows, columns = one.shape[0] // 16, one.shape[1] // 16
    apart = cv2.absdiff(one, other)[: 16 * rows, : 16 * columns].astype(np.float32)
    return bool(cv2.resize(apart, (columns, rows), interpolation=cv2.INTER_AREA).mean(axis=2).max() > 2)


Spoil = Callable[["Packet[VideoStream]"], "Packet[VideoStream] | None"]


def judged(path: Path, spoil: Spoil = lambda packet: packet, *, lossy: bool = True) -> Iterator[tuple[int, bool, bool]]:
    """Of each picture of a clip that went through `spoil`: its number, whether it is wrong, whether it is trusted."""
    clean = looks(path)
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        damage = Damage(video.codec_context, lossy=lossy)
        for packet in container.demux(video):
            arrived = spoil(packet)
            if arrived is None:
                continue
            damage.read(arrived)
            for picture in damage.settled(video.decode(arrived)):
                number = round((picture.time or 0) * 25)
                wrong = differs(picture.to_ndarray(format="bgr24").astype(np.uint8), clean[number])
                yield number, wrong, not damage.spoils(picture)


def without(places: Collection[int], part: slice | None = None) -> Spoil:
    """Loses the packets at these places in the file, or this part of their largest slice."""
    place = -1

    def spoil(packet: "Packet[VideoStream]") -> "Packet[VideoStream] | None":
        nonlocal place
        place += 1
        if place not in places:
            return packet
        if part is None:
            return None
        units = [bytearray(unit) for unit in length_prefixed(bytes(packet), 4)]
        del max(units, key=len)[part]
        joined = b"".join(len(unit).to_bytes(4) + unit for unit in units)
        rest = cast("Packet[VideoStream]", Packet(joined))
        rest.pts, rest.dts, rest.time_base = packet.pts, packet.dts, packet.time_base
        rest.stream = packet.stream
        return rest

    return spoil


@pytest.mark.parametrize("lossy", [True, False])
@pytest.mark.parametrize("name", CLIPS)
def test_nothing_undamaged_is_passed_over(drawn: dict[str, Path], name: str, lossy: bool) -> None:
    assert list(judged(drawn[name], lossy=lossy)) == [(number, False, True) for number in range(FRAMES)]


@pytest.mark.parametrize("name", ["videos/webcam_man_cap13.mp4", "tracking/two_speakers_240p.mp4"])
def test_nothing_of_a_recording_is_passed_over(name: str) -> None:
    with av.open(str(clip(name))) as container:
        video = container.streams.video[0]
        damage, count = Damage(video.codec_context, lossy=True), 0
        for packet in container.demux(video):
            damage.read(packet)
            for picture in damage.settled(video.decode(packet)):
                assert not damage.spoils(picture)
                count += 1
    assert count == video.frames


@pytest.mark.parametrize("name", CLIPS)
def test_a_picture_that_never_came_spoils_those_up_to_the_next_key_picture(drawn: dict[str, Path], name: str) -> None:
    # The second packet of a group of pictures: the others refer to it.
    seen = list(judged(drawn[name], without({2 * GOP + 1})))
    assert not [number for number, wrong, trusted in seen if wrong and trusted]
    passed_over = [number for number, _, trusted in seen if not trusted]
    assert passed_over
    assert set(passed_over) <= set(range(2 * GOP + 1, 3 * GOP))


@pytest.mark.parametrize("part", [slice(60, 160), slice(-80, None)], ids=["middle", "end"])
@pytest.mark.parametrize("name", ["h264", "h264 large", "h264 reordered"])
def test_a_lost_part_of_a_picture_is_noticed(drawn: dict[str, Path], name: str, part: slice) -> None:
    places = {GOP, 3 * GOP}  # key pictures: the largest
    seen = list(judged(drawn[name], without(places, part)))
    assert not [number for number, wrong, trusted in seen if wrong and trusted]
    passed_over = {number for number, _, trusted in seen if not trusted}
    assert {GOP, 3 * GOP} <= passed_over
    assert not passed_over & {*range(GOP), *range(2 * GOP, 3 * GOP), *range(4 * GOP, FRAMES)}


def test_pictures_shown_before_the_broken_one_that_they_are_made_from_wait_for_it(drawn: dict[str, Path]) -> None:
    # Sent first behind the key picture, shown behind its B-pictures.
    place, part = {2 * GOP + 1}, slice(10, 30)
    seen = list(judged(drawn["h264 reordered"], without(place, part)))
    wrong = [number for number, wrong, _ in seen if wrong]
    assert wrong[0] == 2 * GOP + 1
    assert not [number for number, wrong, trusted in seen if wrong and trusted]
    # Where nothing gets lost on the way, none is kept waiting.
    unheld = judged(drawn["h264 reordered"], without(place, part), lossy=False)
    assert [number for number, wrong, trusted in unheld if wrong and trusted]


def watch(url: str, transport: str, more: Callable[[list[Frame]], bool]) -> list[Frame]:
    """Frames of a stream as the program sees them, for as long as `more` wants."""
    stream = StreamSettings(url, transport=transport)  # type: ignore[arg-type]
    frames: list[Frame] = []

    def put(frame: Frame, newest_wins: bool) -> bool:
        frames.append(frame)
        return more(frames)

    read_video(Opening(resolve(stream), stream, host()), put)
    return frames


def wrong_ones(frames: list[Frame], path: Path) -> tuple[int, int]:
    """How many frames were processed, and how many of them do not look as they were sent."""
    clean = looks(path)
    first = next(frame for frame in frames if frame.pts is not None)
    assert first.pts is not None
    number = read_number(first.pixels()[:, :, ::-1])
    processed = [frame for frame in frames if not frame.skipped and frame.pts is not None]
    steps = [round(((frame.pts or 0) - first.pts) * 25) for frame in processed]
    wrong = [differs(f.pixels(), clean[(number + step) % FRAMES]) for f, step in zip(processed, steps, strict=True)]
    return len(processed), sum(wrong)


DAMAGED = {
    "h264 udp": ("h264", {"loss": 0.05}),
    "h264 reordered udp": ("h264 reordered", {"loss": 0.05}),
    "h265 udp": ("h265", {"loss": 0.05}),
    "h264 tcp": ("h264", {"corrupt": 0.05}),
}


@pytest.fixture(scope="module")
def damaged(drawn: dict[str, Path]) -> dict[str, list[Frame]]:
    """What came of streams that were damaged from their tenth picture on, all watched at the same time."""
    mounts = {name.replace(" ", "-"): drawn[clip] for name, (clip, _) in DAMAGED.items()}
    with RtspProcess(mounts, seed=1) as server, ThreadPoolExecutor(len(DAMAGED)) as threads:
        one_at_a_time = Lock()

        def watched(name: str) -> list[Frame]:
            mount, fault = name.replace(" ", "-"), DAMAGED[name][1]

            def more(frames: list[Frame]) -> bool:
                if len(frames) == GOP:
                    with one_at_a_time:
                        server.fault(mount, **fault)
                return len(frames) < 150

            return watch(server.url(mount), name.rpartition(" ")[2], more)

        return dict(zip(DAMAGED, threads.map(watched, DAMAGED), strict=True))


@pytest.mark.parametrize("name", DAMAGED)
def test_what_is_processed_of_a_damaged_stream_looks_as_it_was_sent(
    drawn: dict[str, Path], damaged: dict[str, list[Frame]], name: str
) -> None:
    # A byte turned over may leave a picture that is valid, if not the one that was sent.
    tolerated = 0.05 if "corrupt" in DAMAGED[name][1] else 0.0
    frames = damaged[name]
    processed, wrong = wrong_ones(frames, drawn[DAMAGED[name][0]])
    assert wrong <= tolerated * processed
    assert processed > 20
    assert {frame.skipped for frame in frames} == {None, "corrupt"}
    assert [frame.seq for frame in frames] == list(range(len(frames)))


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_a_stream_that_changes_its_size_goes_on(drawn: dict[str, Path], tmp_path: Path, codec: str) -> None:
    before = drawn["h264" if codec == "libx264" else "h265"]
    after = draw(tmp_path / "wider.mp4", width=480, height=320, gop=GOP, codec=codec)  # type: ignore[arg-type]
    with RtspProcess({"cam": before}) as server:

        def more(frames: list[Frame]) -> bool:
            if len(frames) == 20:
                server.switch("cam", after)
            return sum(frame.width == 480 for frame in frames) < 20

        frames = watch(server.url("cam"), "tcp", more)
    assert {frame.width for frame in frames} == {320, 480}
    assert not any(frame.skipped for frame in frames)


@pytest.mark.parametrize(("before", "after"), [("h264", "h265"), ("h265", "h264")])
def test_a_stream_that_changes_its_codec_is_given_up(drawn: dict[str, Path], before: str, after: str) -> None:
    switched = 0.0
    with RtspProcess({"cam": drawn[before]}) as server:

        def more(frames: list[Frame]) -> bool:
            nonlocal switched
            if len(frames) == 20:
                server.switch("cam", drawn[after])
                switched = time.monotonic()
            return True

        with pytest.raises(CorruptError, match="codec"):
            watch(server.url("cam"), "tcp", more)
    assert time.monotonic() - switched < 10
