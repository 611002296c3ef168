"""Single videos: sizes, times, names; and a recorder whose encoder or disk does not keep up."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.config import PrivacySettings, VideoSettings
from streamer.contract import encode
from streamer.errors import ConfigError, OutputError
from streamer.face import Clock, Frame, FrameResult, Pixels
from streamer.flow import Message
from streamer.media import recording
from streamer.media.recording import Recording, check_encoder
from streamer.media.timeline import Timeline
from streamer.outputs import videowriter
from streamer.outputs.video import VideoRecorder
from streamer.outputs.videofiles import check_path
from streamer.records import status_record

ROOMY = 0.0  # megabytes that must be free


def frame(
    seq: int,
    size: tuple[int, int] = (64, 48),
    *,
    live: bool = False,
    pixels: Callable[[], Pixels] | None = None,
    clock: Clock = "host",
    captured: float | None = None,
    jump: float = 0.0,
    skipped: str | None = None,
) -> Frame:
    width, height = size
    at = seq / 25
    return Frame(
        seq=seq,
        index=seq,
        at=at,
        captured=1_790_000_000 + at if captured is None else captured,
        arrived=at,
        width=width,
        height=height,
        pixels=pixels or (lambda: np.full((height, width, 3), 10 * seq % 256, np.uint8)),
        clock=clock,
        live=live,
        jump=jump,
        skipped=skipped,
    )


def message(of: Frame, stream: str = "door") -> Message:
    return Message(stream, b"{}", result=FrameResult(of, (), {}, 0, 0.0))


def ended(stream: str = "door") -> Message:
    return Message(stream, encode(status_record(stream, "s1", 1_790_000_000, "ended")))


def pictures(path: Path, *, torn: bool = False) -> list[tuple[float, Pixels]]:
    """All pictures of a video as BGR, with their times; of a `torn` one those up to the damage."""
    shown: list[tuple[float, Pixels]] = []
    with av.open(str(path)) as container, contextlib.suppress(*[av.error.InvalidDataError] * torn):
        shown.extend((p.time or 0.0, p.to_ndarray(format="bgr24").astype(np.uint8)) for p in container.decode(video=0))
    return shown


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize(("width", "height"), [(64, 48), (63, 48), (64, 47), (33, 21), (1, 1)])
def test_pictures_of_every_size_keep_their_pixels_and_times(
    tmp_path: Path, suffix: str, width: int, height: int
) -> None:
    path, times = tmp_path / f"out{suffix}", [0.0, 0.04, 0.1, 3.5, 3.501]
    ramp = np.linspace(40, 200, width, dtype=np.uint8)
    picture = np.repeat(np.repeat(ramp[None, :, None], height, axis=0), 3, axis=2)
    written = Recording(path, width, height, 1_790_000_000.0)
    for at in times:
        written.write(picture, at)
    written.close()
    assert written.seconds == pytest.approx(3.502, abs=1e-4)
    read = pictures(path)
    assert [at for at, _ in read] == pytest.approx(times, abs=1e-3 if suffix == ".mkv" else 1 / 90_000)
    for _, shown in read:
        assert shown.shape == (height + height % 2, width + width % 2, 3)
        assert np.abs(shown[:height, :width].astype(int) - picture).mean() < 4
    with av.open(str(path)) as container:
        assert container.metadata["creation_time"].startswith("2026-09-21T14:13:20")


def test_a_video_can_be_entered_every_other_second(tmp_path: Path) -> None:
    written = Recording(tmp_path / "out.mp4", 64, 48, 0.0)
    for n in range(60):
        written.write(np.full((48, 64, 3), 4 * n, np.uint8), n / 10)
    written.close()
    with av.open(str(tmp_path / "out.mp4")) as container:
        keys = [float(p.pts * p.time_base) for p in container.demux(video=0) if p.is_keyframe and p.pts is not None]
    assert keys == pytest.approx([0, 2, 4])


def test_an_ffmpeg_that_cannot_encode_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    check_encoder()
    monkeypatch.setattr(recording, "_ENCODER", "h264_nobody")
    with pytest.raises(OutputError, match="has no h264_nobody"):
        check_encoder()


@pytest.mark.parametrize(
    ("path", "streams", "said"),
    [("out.avi", 1, "kind .avi"), ("out", 2, ""), ("out.d/", 2, ""), ("OUT.MP4", 1, ""), ("out.mkv", 2, "one video")],
)
def test_a_path_must_mean_something(path: str, streams: int, said: str) -> None:
    if not said:
        check_path(VideoSettings(path), [str(n) for n in range(streams)], PrivacySettings())
        return
    with pytest.raises(ConfigError, match=said):
        check_path(VideoSettings(path), [str(n) for n in range(streams)], PrivacySettings())


def test_files_keep_their_own_times() -> None:
    line = Timeline()
    placed = [line.place(frame(n)) for n in (2, 3, 7)]
    assert placed == pytest.approx([0.08, 0.12, 0.28])
    assert line.place(frame(1)) > placed[-1]


def test_of_cameras_the_time_between_captures_counts_unless_a_clock_was_set() -> None:
    line = Timeline()
    steps = [
        frame(0, live=True, captured=500.0),
        frame(1, live=True, captured=500.5),  # held up on its way
        frame(2, live=True, captured=9000.0, jump=8499.0, skipped="stale"),  # nobody sees it, but its clock was set
        frame(3, live=True, captured=9000.04),
        frame(4, live=True, captured=400.0, clock="camera"),
        frame(5, live=True, captured=400.25, clock="camera"),
    ]
    assert [line.place(each) for each in steps] == pytest.approx([0, 0.5, 0.54, 0.58, 0.62, 0.87])


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1e10), st.floats(-1e5, 1e5)), min_size=2))
def test_times_always_grow(of: list[tuple[bool, float, float]]) -> None:
    line = Timeline()
    placed = [line.place(frame(n, live=live, captured=at, jump=jump)) for n, (live, at, jump) in enumerate(of)]
    assert all(b > a for a, b in pairwise(placed))


async def test_a_new_size_a_new_file_and_none_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "out.mp4").write_text("somebody's")
    recorder = VideoRecorder(VideoSettings(str(tmp_path / "out.mp4"), min_free_mb=ROOMY), ["door"])
    for n in range(30):
        await recorder.put(message(frame(n, (64, 48) if n < 10 else (48, 64), skipped="fps" if n % 5 == 4 else None)))
    await recorder.put(ended())
    await recorder.put(message(frame(0), "added later"))
    await recorder.close()
    assert (tmp_path / "out.mp4").read_text() == "somebody's"
    first, second = pictures(tmp_path / "out-2.mp4"), pictures(tmp_path / "out-3.mp4")
    assert [at for at, _ in first] == pytest.approx([n / 25 for n in range(10) if n % 5 != 4], abs=1e-4)
    assert [at for at, _ in second] == pytest.approx([n / 25 for n in range(20) if n % 5 != 4], abs=1e-4)
    assert [p.shape[:2] for _, p in (first[0], second[0])] == [(48, 64), (64, 48)]
    assert len(pictures(tmp_path / "out-added later.mp4")) == 1
    assert {file.path.name: file.pictures for file in recorder.report.files} == {
        "out-2.mp4": 8, "out-3.mp4": 16, "out-added later.mp4": 1
    }  # fmt: skip


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Closed: nothing can be drawn."""
    gate = threading.Event()
    yield gate
    gate.set()


async def test_a_camera_never_waits_for_its_video(
    tmp_path: Path, gate: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    begun = threading.Event()

    def pixels() -> Pixels:
        begun.set()
        gate.wait(30)
        return np.zeros((48, 64, 3), np.uint8)

    recorder = VideoRecorder(VideoSettings(str(tmp_path / "out.mp4"), min_free_mb=ROOMY), ["door"])
    async with asyncio.timeout(10):
        await recorder.put(message(frame(0, live=True, pixels=pixels)))
        await asyncio.to_thread(begun.wait, 10)
        for n in range(1, 200):
            await recorder.put(message(frame(n, live=True, pixels=pixels)))
    assert recorder.figures() == {
        "frames_written_total": 0, "frames_missed_total": 191, "frames_waiting": 8, "paused": 0
    }  # fmt: skip
    gate.set()
    await recorder.close()
    times = [at for at, _ in pictures(tmp_path / "out.mp4")]
    assert times == pytest.approx([0.0, *(n / 25 for n in range(192, 200))], abs=1e-4)  # the newest, where they belong
    said = [int(line.rpartition(" ")[2]) for line in caplog.messages if "not in the video" in line]
    assert sum(said) == 191
    assert len(said) <= 3


async def test_a_file_waits_for_its_video(tmp_path: Path, gate: threading.Event) -> None:
    def pixels() -> Pixels:
        gate.wait(30)
        return np.zeros((48, 64, 3), np.uint8)

    recorder = VideoRecorder(VideoSettings(str(tmp_path / "out.mp4"), min_free_mb=ROOMY), ["door"])

    async def all_of_it() -> None:
        for n in range(40):
            await recorder.put(message(frame(n, pixels=pixels)))

    reading = asyncio.create_task(all_of_it())
    done, _ = await asyncio.wait([reading], timeout=0.3)
    assert not done
    gate.set()
    await reading
    await recorder.close()
    assert len(pictures(tmp_path / "out.mp4")) == 40
    assert recorder.report.missed == 0


async def test_a_disk_with_too_little_room_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recorder = VideoRecorder(VideoSettings(str(tmp_path / "out.mp4"), min_free_mb=1e9), ["door"])
    for n in range(30):
        await recorder.put(message(frame(n)))
    with pytest.raises(OutputError, match="MB of the disk are free"):
        await recorder.close()
    assert recorder.report.missed == 30
    assert [r.levelno for r in caplog.records if "paused" in r.message] == [logging.ERROR]
    assert recorder.report.files == []


async def test_a_picture_that_cannot_be_drawn_does_not_stop_the_rest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Pixels:
        raise MemoryError("no room for pixels")

    monkeypatch.setattr(videowriter, "_RETRY", 0.0)

    recorder = VideoRecorder(VideoSettings(str(tmp_path / "out.mp4"), min_free_mb=ROOMY), ["door"])
    for n in range(20):
        await recorder.put(message(frame(n, pixels=broken if n == 10 else None)))
    await recorder.close()
    assert [len(pictures(tmp_path / name)) for name in ("out.mp4", "out-2.mp4")] == [10, 9]
    assert (recorder.report.written, recorder.report.missed) == (19, 1)
    assert "no room for pixels" in caplog.text
    assert "the video goes on in" in caplog.text


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    async def start() -> None:
        VideoRecorder(VideoSettings(str(tmp_path / "file" / "out.mp4")), ["door"])

    with pytest.raises(OutputError, match="no video can be written there"):
        asyncio.run(start())


def test_no_video_is_written_where_pictures_are_switched_off(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="pictures are switched off"):
        check_path(VideoSettings(str(tmp_path / "out.mp4")), ["cam"], PrivacySettings(pictures=False))
