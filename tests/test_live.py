"""Cameras as they are read with the options of a stream, and on a machine that is busy."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from streamer.config import StreamSettings
from streamer.face import Frame, no_pixels
from streamer.media.budget import DecodingBudget
from streamer.media.opening import Host
from streamer.media.source import StateChange, Tally, keep_open
from streamer.turns import Turns
from tests.conftest import host, opened
from tests.servers.clips import draw, draw_number, read_number
from tests.servers.rtsp import RtspServer

NUMBERED, GROUP = 50, 10


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds in which each picture shows its number, with a key picture every ten."""
    return draw(tmp_path_factory.mktemp("clips") / "numbered.mp4", frames=NUMBERED, gop=GROUP)


@pytest.fixture(scope="module")
def reordered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with B-frames, as few cameras send."""
    path = tmp_path_factory.mktemp("clips") / "reordered.mp4"
    x264 = f"keyint={GROUP}:min-keyint={GROUP}:scenecut=0:bframes=2:b-adapt=0"
    with av.open(str(path), "w") as writer:
        stream = writer.add_stream("libx264", rate=25, options={"x264-params": x264})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for n in range(NUMBERED):
            writer.mux(stream.encode(av.VideoFrame.from_ndarray(draw_number(n, 320, 240), format="rgb24")))
        writer.mux(stream.encode())
    return path


async def frames_of(source: AsyncGenerator[Frame | StateChange, None], count: int) -> list[Frame]:
    frames = []
    async with aclosing(source), asyncio.timeout(20):
        async for item in source:
            if isinstance(item, Frame):
                frames.append(item)
                if len(frames) == count:
                    break
    assert [f.seq for f in frames] == list(range(len(frames)))
    return frames


async def watch(clip: Path, count: int, faults: dict[str, float] | None = None, **options: Any) -> list[Frame]:
    async with RtspServer({"cam": clip}) as server:
        server.fault("cam", **(faults or {}))
        return await frames_of(opened(StreamSettings(server.url("cam"), **options)), count)


def shown(frame: Frame) -> int:
    return read_number(frame.pixels()[:, :, ::-1])


async def test_key_pictures_only(numbered: Path) -> None:
    frames = await watch(numbered, 31, keyframes_only=True)
    analysed = [f for f in frames if f.skipped is None]
    assert {shown(f) % GROUP for f in analysed} == {0}
    assert {f.skipped for f in frames} <= {None, "keyframesOnly"}
    assert len(analysed) >= 3


async def test_key_pictures_are_not_held_back_for_others_that_never_come(reordered: Path) -> None:
    frames = await watch(reordered, 31, keyframes_only=True)
    analysed = [f for f in frames if f.skipped is None]
    assert {shown(f) % GROUP for f in analysed} == {0}
    assert len(analysed) >= 3
    late = [f.delay for f in analysed if f.clock == "camera"]
    assert late
    assert max(late) < 2 * GROUP / 25, "at once, not two groups later"


async def test_the_clock_is_the_same_for_pictures_that_are_not_decoded(numbered: Path) -> None:
    frames = await watch(numbered, 32, {"clock_offset": 3600}, keyframes_only=True)
    clocks = [f.clock for f in frames]
    known = clocks.index("camera")
    assert known < 15
    assert set(clocks[known:]) == {"camera"}
    steps = np.diff([f.captured for f in frames[known:]])
    assert steps.max() < 2
    assert steps.min() > -0.1


async def test_a_camera_that_hangs_askew_is_turned(numbered: Path) -> None:
    frames = await watch(numbered, 12, rotate=90)
    frame = next(f for f in frames[::-1] if f.skipped is None)
    assert (frame.width, frame.height) == (240, 320)
    upright = np.rot90(frame.pixels())
    assert read_number(upright[:, :, ::-1]) in range(NUMBERED)
    assert abs(read_number(upright[:, :, ::-1]) - frame.seq) < 10


async def test_fewer_pictures_a_second(numbered: Path) -> None:
    frames = await watch(numbered, 30, fps=5)
    analysed = [f for f in frames if f.skipped is None]
    assert {f.skipped for f in frames} == {None, "fps"}
    assert 4 <= len(analysed) <= 9


@pytest.mark.parametrize("options", [{"fps": 6}, {"keyframes_only": True}])
async def test_on_a_busy_machine_a_thinned_stream_has_its_results_all_the_same(
    numbered: Path, options: dict[str, Any]
) -> None:
    """Between two of its pictures come others that nobody will analyse: those must not take its place."""
    turns, analysed = Turns(1), 0

    async def others() -> None:
        with turns.share() as share:
            while True:
                async with share.turn():
                    await asyncio.sleep(0.1)  # longer than from one picture to the next

    busy = asyncio.create_task(others())
    async with RtspServer({"cam": numbered}) as server:
        with turns.share() as share:
            source = keep_open(StreamSettings(server.url("cam"), **options), share, host(), Tally())
            count = 0
            async with aclosing(source), asyncio.timeout(20):
                async for item in source:
                    if isinstance(item, Frame):
                        count += 1
                        if item.skipped is None:
                            share.give_back()
                            analysed += 1
                        if count == 45:
                            break
    busy.cancel()
    assert analysed >= 3  # of four, or ten


async def test_a_picture_that_waited_too_long_for_its_turn_is_not_analysed(numbered: Path) -> None:
    turns = Turns(1)
    async with RtspServer({"cam": numbered}) as server:
        with turns.share() as other, turns.share() as share:
            stream = StreamSettings(server.url("cam"), max_age=0.2, stall=5)
            source = keep_open(stream, share, host(), Tally())
            async with aclosing(source), asyncio.timeout(20):
                while not isinstance(item := await anext(source), Frame) or item.skipped:
                    pass
                assert isinstance(item, Frame)
                share.give_back()
                await other.take()
                waiting = asyncio.ensure_future(anext(source))
                sent = server.stats.frames
                await server.until(lambda stats: stats.frames > sent + 3)
                server.fault("cam", stalled=True)
                await asyncio.sleep(0.5)  # older than allowed, and none comes that is newer
                other.give_back()
                records = [await waiting]
                while isinstance(records[-1], Frame) and records[-1].skipped == "superseded":
                    records.append(await anext(source))
                assert isinstance(records[-1], Frame)
                assert records[-1].skipped == "stale"
                async with asyncio.timeout(1):
                    await other.take()  # its turn was given back


async def test_what_is_overtaken_while_a_turn_is_waited_for_is_told_at_once(numbered: Path) -> None:
    turns = Turns(1)
    async with RtspServer({"cam": numbered}) as server:
        with turns.share() as other, turns.share() as share:
            source = keep_open(StreamSettings(server.url("cam")), share, host(), Tally())
            async with aclosing(source), asyncio.timeout(20):
                while not isinstance(item := await anext(source), Frame) or item.skipped:
                    pass
                share.give_back()
                await other.take()
                before = share.waited
                overtaken = [await anext(source) for _ in range(12)]
                assert [item.skipped for item in overtaken if isinstance(item, Frame)] == ["superseded"] * 12
                # Unless they come in one go they can still be shown.
                assert any(shown(f) >= 0 for f in overtaken if isinstance(f, Frame) and f.pixels is not no_pixels)
                assert share.waited == before, "it still waits"
                other.give_back()
                while not isinstance(item := await anext(source), Frame) or item.skipped:
                    pass
                assert share.waited > before


class Means(DecodingBudget):
    """What decoding may cost, as the test says."""

    spent = False

    def means(self) -> float:
        return 0.0 if self.spent else super().means()


async def test_after_a_gap_there_are_no_pictures_from_before_it(reordered: Path) -> None:
    means = Means(2)
    async with RtspServer({"cam": reordered}) as server:
        source = opened(StreamSettings(server.url("cam")), Host(2, means))
        frames: list[Frame] = []
        async with aclosing(source), asyncio.timeout(20):
            async for item in source:
                if isinstance(item, Frame):
                    frames.append(item)
                    means.spent = 10 <= len(frames) < 25
                    if item.skipped is None and "overload" in [f.skipped for f in frames]:
                        break
    reasons = [f.skipped for f in frames]
    first = reasons.index("overload")
    assert reasons[first:-1] == ["overload"] * (len(reasons) - first - 1)
    assert len(reasons) - first > 10
    assert shown(frames[-1]) % GROUP == 0
    assert [f.seq for f in frames] == list(range(len(frames)))
    assert frames[-1].captured - frames[first - 1].captured > 0.4
