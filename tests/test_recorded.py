"""Files as they are read with the options of a stream: looped, at their own speed, turned, thinned out."""

import asyncio
import time
from collections import Counter
from contextlib import aclosing
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from streamer.config import StreamSettings
from streamer.errors import SourceError
from streamer.face import Frame
from streamer.media.source import StateChange, Tally
from tests.conftest import opened
from tests.servers.clips import draw, draw_number, read_number, remux
from tests.test_sources import set_rotation

NUMBERED = 30


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1.2 seconds in which each picture shows its number, with a key picture every ten."""
    return draw(tmp_path_factory.mktemp("clips") / "numbered.mp4", frames=NUMBERED, gop=10)


async def read(url: Path, most: int = 1000, **options: Any) -> tuple[list[Frame], list[StateChange]]:
    """Up to so many frames."""
    frames, states = list[Frame](), list[StateChange]()
    source = opened(StreamSettings(str(url), **options))
    async with aclosing(source), asyncio.timeout(20):
        async for item in source:
            if isinstance(item, StateChange):
                states.append(item)
            else:
                frames.append(item)
                if len(frames) == most:
                    break
    return frames, states


def shown(frame: Frame) -> int:
    return read_number(frame.pixels()[:, :, ::-1])


@pytest.mark.parametrize("name", ["clip.mp4", "clip.ts", "clip.mkv", "reordered.mp4"])
async def test_a_looped_file_begins_again_and_its_time_goes_on(numbered: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "reordered.mp4":
        with av.open(str(path), "w") as writer:
            stream = writer.add_stream("libx264", rate=25, options={"bf": "2", "x264-params": "b-adapt=0"})
            stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
            for n in range(NUMBERED):
                writer.mux(stream.encode(av.VideoFrame.from_ndarray(draw_number(n, 320, 240), format="rgb24")))
            writer.mux(stream.encode())
    else:
        remux(numbered, path)
    frames, states = await read(path, 3 * NUMBERED + 5, loop=True)
    assert [state.state for state in states] == ["connecting", "live"]
    assert [f.seq for f in frames] == list(range(3 * NUMBERED + 5))
    assert [f.index for f in frames] == [n % NUMBERED for n in range(3 * NUMBERED + 5)]
    assert [shown(f) for f in frames] == [f.index for f in frames]
    np.testing.assert_allclose([f.at for f in frames], np.arange(3 * NUMBERED + 5) / 25, atol=2e-3)
    assert all(b.captured > a.captured for a, b in pairwise(frames))
    assert not any(f.skipped for f in frames)


async def test_a_format_without_a_way_back_is_not_looped_and_it_is_said(numbered: Path, tmp_path: Path) -> None:
    frames, states = await read(remux(numbered, tmp_path / "clip.h264"), loop=True)
    assert len(frames) == NUMBERED
    assert states[-1].state == "ended"
    assert type(states[-1].error) is SourceError
    assert "has no way back to its beginning" in states[-1].error.message


async def test_at_its_own_speed_a_file_is_like_a_camera(numbered: Path) -> None:
    start = time.monotonic()
    frames, states = await read(numbered, realtime=True)
    assert time.monotonic() - start >= (NUMBERED - 1) / 25
    assert [f.seq for f in frames] == list(range(NUMBERED))
    assert all(f.live for f in frames)
    assert all(b.at >= a.at for a, b in pairwise(frames))
    assert frames[-1].at - frames[0].at == pytest.approx((NUMBERED - 1) / 25, abs=0.5)
    assert all(f.at == f.arrived for f in frames)
    assert states[-1].error is None


async def test_at_its_own_speed_the_newest_wins(numbered: Path) -> None:
    source = opened(StreamSettings(str(numbered), realtime=True))
    frames = []
    async with aclosing(source), asyncio.timeout(20):
        async for item in source:
            if isinstance(item, Frame):
                frames.append(item)
                if not item.skipped:
                    await asyncio.sleep(0.3)  # what this taker needs for a picture
    assert [f.seq for f in frames] == list(range(NUMBERED))
    assert {f.skipped for f in frames} <= {None, "superseded", "stale"}
    analysed = [f for f in frames if not f.skipped]
    assert 2 <= len(analysed) <= 6
    assert [shown(f) for f in analysed] == [f.index for f in analysed]


async def test_of_a_long_gap_no_more_than_a_second_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "gap.mkv"
    with av.open(str(path), "w") as writer:
        stream = writer.add_stream("libx264", rate=25, options={"bf": "0", "tune": "zerolatency"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for n, pts in enumerate([0, 1, 2500, 2501, 2502]):
            picture = av.VideoFrame.from_ndarray(draw_number(n, 320, 240), format="rgb24")
            picture.pts, picture.time_base = pts, Fraction(1, 25)
            writer.mux(stream.encode(picture))
        writer.mux(stream.encode())
    frames, _ = await read(path, realtime=True)
    assert len(frames) == 5
    assert frames[4].captured - frames[0].captured == pytest.approx(2502 / 25, abs=0.01)
    steps = [b.at - a.at for a, b in pairwise(frames)]
    assert 0.9 < steps[1] < 3
    assert max(steps[0], *steps[2:]) < 0.9


@pytest.mark.parametrize("own", [0, 90])
@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
async def test_pictures_are_turned_beyond_what_the_file_asks_for(
    numbered: Path, tmp_path: Path, rotate: int, own: int
) -> None:
    (plain,), _ = await read(numbered, 1)
    path = remux(numbered, tmp_path / "turned.mp4")
    if own:
        set_rotation(path)
    (frame,), _ = await read(path, 1, rotate=rotate)
    clockwise = (rotate + own) // 90 % 4
    assert (frame.width, frame.height) == ((240, 320) if clockwise % 2 else (320, 240))
    pixels = frame.pixels()
    assert pixels.shape == (frame.height, frame.width, 3)
    np.testing.assert_array_equal(pixels, np.rot90(plain.pixels(), -clockwise))


async def test_fewer_pictures_a_second(numbered: Path) -> None:
    frames, _ = await read(numbered, fps=5)
    assert [f.seq for f in frames] == list(range(NUMBERED))
    assert [f.index for f in frames if not f.skipped] == [0, 4, 9, 14, 19, 24, 29]
    assert Counter(f.skipped for f in frames)["fps"] == NUMBERED - 7


async def test_key_pictures_only(numbered: Path) -> None:
    frames, states = await read(numbered, keyframes_only=True)
    assert [f.skipped for f in frames] == [None if n % 10 == 0 else "keyframesOnly" for n in range(NUMBERED)]
    assert [shown(f) for f in frames if not f.skipped] == [0, 10, 20]
    assert states[-1].error is None


@pytest.mark.parametrize("hardware", ["cuda", "nonsense"])
async def test_hardware_that_is_not_there_is_replaced_and_it_is_said(numbered: Path, hardware: str) -> None:
    tally = Tally()
    source = opened(StreamSettings(str(numbered), hardware=hardware), tally=tally)
    async with aclosing(source):
        frames = [item async for item in source if isinstance(item, Frame)]
    if tally.decoder == "h264 on cuda":
        pytest.skip("this machine has cuda")
    assert [shown(f) for f in frames] == list(range(NUMBERED))
    assert tally.decoder == f"h264 on CPU, for {hardware} cannot be used here"


async def test_without_hardware_the_cpu_decodes(numbered: Path) -> None:
    tally = Tally()
    source = opened(StreamSettings(str(numbered)), tally=tally)
    async with aclosing(source):
        async for item in source:
            if isinstance(item, Frame):
                break
    assert (tally.decoder, tally.tries, tally.opened, tally.abandoned) == ("h264 on CPU", 1, 1, 0)
