"""The path of a frame with the real models: searches now and then, still scenes, regions, a busy machine."""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import cv2
import msgspec
import numpy as np
import pytest

from streamer.analysis.geometry import Letterbox, iou_matrix
from streamer.analysis.pyramid import Pyramid
from streamer.config import Polygon, StreamSettings
from streamer.configfile import data_folder
from streamer.face import Face, Frame, FrameResult, Pixels, no_pixels
from streamer.inference import detectors
from streamer.inference.crops import fill_letterbox
from streamer.inference.models import Models, Workshop
from streamer.media.source import Tally, keep_open
from streamer.pipeline import Source, analyse_stream
from streamer.records import frame_record
from streamer.turns import Share
from tests.conftest import host
from tests.test_turns import free

STEP = 0.04
WIDTH, HEIGHT = 640, 360


@pytest.fixture(scope="module")
def pictures(face_clip: Path) -> list[Pixels]:
    """Two seconds of a face before a moving camera."""
    with av.open(str(face_clip)) as clip:
        whole = [frame.to_ndarray(format="bgr24") for frame, _ in zip(clip.decode(video=0), range(50), strict=False)]
    return [cv2.resize(picture, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA).astype(np.uint8) for picture in whole]


def recorded(pictures: Iterable[Pixels], step: float = STEP) -> Source:
    """The pictures as a file's, 25 a second by their times."""

    async def frames(share: Share) -> AsyncGenerator[Frame, None]:
        for seq, pixels in enumerate(pictures):
            await share.take()
            yield a_frame(seq, seq * step, pixels, live=False)

    return frames


def live(pictures: Iterable[Pixels]) -> Source:
    """The pictures as a camera's, 25 a second if they may be analysed so soon."""

    async def frames(share: Share) -> AsyncGenerator[Frame, None]:
        for seq, pixels in enumerate(pictures):
            await asyncio.sleep(STEP)  # the camera's clock
            await share.take()
            yield a_frame(seq, time.monotonic(), pixels, live=True)

    return frames


def a_frame(seq: int, at: float, pixels: Pixels, *, live: bool) -> Frame:
    height, width = pixels.shape[:2]
    return Frame(seq, seq, at, at, time.monotonic(), width, height, partial(lambda: pixels), live=live)


async def analysed(source: Source, models: Models, **options: Any) -> list[FrameResult]:
    results = analyse_stream(StreamSettings("camera", **options), source, models)
    async with aclosing(results), asyncio.timeout(60):
        return [item async for item in results if isinstance(item, FrameResult)]


@pytest.fixture(scope="module")
def full(realtime: Models, pictures: list[Pixels]) -> list[FrameResult]:
    """Every picture searched."""
    return asyncio.run(analysed(recorded(pictures), realtime))


def the_face(result: FrameResult) -> Face:
    (face,) = result.faces
    return face


def overlaps(some: list[FrameResult], others: list[FrameResult]) -> list[float]:
    pairs = zip(some, others, strict=True)
    return [float(iou_matrix(the_face(a).box[None], the_face(b).box[None])[0, 0]) for a, b in pairs]


def joined_by_a_small_one(portrait: Pixels) -> list[Pixels]:
    """A large face, to which another comes in the ninth picture that is too small for a quick reading."""
    alone = np.full((720, 1280, 3), 128, np.uint8)
    alone[:512, :512] = portrait
    both = alone.copy()
    both[600:700, 1100:1200] = cv2.resize(portrait, (100, 100), interpolation=cv2.INTER_AREA)
    return [*[alone] * 8, *[both] * 12]


async def test_beside_a_large_face_a_small_one_is_seen_by_the_next_full_reading(
    realtime: Models, portrait: Pixels
) -> None:
    scene = joined_by_a_small_one(portrait)
    results = await analysed(recorded(scene), realtime)
    first = [len(result.faces) for result in results].index(2)
    assert 8 <= first <= 8 + 0.2 / STEP
    assert [len(result.faces) for result in results] == [1] * first + [2] * (20 - first)
    assert len({tuple(face.box.tolist()) for result in results[:first] for face in result.faces}) == 1
    results = await analysed(recorded(scene), realtime, full_interval=0)
    assert [len(result.faces) for result in results] == [1] * 8 + [2] * 12


async def test_a_small_face_that_one_full_reading_misses_is_looked_for_in_the_next_picture(
    realtime: Models, portrait: Pixels
) -> None:
    alone, *_, both = joined_by_a_small_one(portrait)
    scene = [both] * 20
    scene[4] = alone  # the second one that is read in full
    results = await analysed(recorded(scene), realtime)
    assert [len(result.faces) for result in results] == [2] * 4 + [1] + [2] * 15
    assert {face.track_id for result in results for face in result.faces} == {1, 2}


async def test_a_small_face_in_a_mask_does_not_have_all_pictures_read_in_full(
    realtime: Models, portrait: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    widths: list[int] = []

    def noted(picture: Pyramid, box: Letterbox) -> Pixels:
        widths.append(box.inner[0])
        return fill_letterbox(picture, box)

    monkeypatch.setattr(detectors, "fill_letterbox", noted)
    both = joined_by_a_small_one(portrait)[-1]
    corner = ((0.8, 0.8), (1.0, 0.8), (1.0, 1.0), (0.8, 1.0))
    results = await analysed(recorded([both] * 15), realtime, masks=(corner,))
    assert [len(result.faces) for result in results] == [1] * 15
    assert [widths.count(width) for width in (427, 853)] == [15, 4]
    widths.clear()
    await analysed(recorded([both] * 15), realtime)
    assert [widths.count(width) for width in (427, 853)] == [1, 15]


async def test_a_small_face_that_comes_right_before_all_is_still_is_seen(realtime: Models, portrait: Pixels) -> None:
    """Nobody looks again for long."""
    scene = [picture.copy() for picture in joined_by_a_small_one(portrait)]
    for n, picture in enumerate(scene):
        left = 600 + 20 * min(n, 8)
        picture[550:700, left : left + 150] = 255
    results = await analysed(recorded(scene), realtime, motion=0.002)
    assert [len(result.faces) for result in results] == [1] * 8 + [2] * 12


async def test_by_default_every_picture_is_searched_and_nothing_is_held(full: list[FrameResult]) -> None:
    assert all("detect" in result.timings for result in full)
    assert {(face.track_id, face.place_held, face.looks_held) for r in full for face in r.faces} == {(1, 0, 0)}


async def test_between_two_searches_faces_are_followed(
    realtime: Models, pictures: list[Pixels], full: list[FrameResult]
) -> None:
    results = await analysed(recorded(pictures), realtime, interval=0.2)
    searched = [n for n, result in enumerate(results) if "detect" in result.timings]
    assert searched == [0, 4, 9, 14, 19, 24, 29, 34, 39, 44, 49]
    assert {the_face(result).track_id for result in results} == {1}
    for n, result in enumerate(results):
        since = n - max(s for s in searched if s <= n)
        record = frame_record(result, "camera", "s")
        held = record.faces[0].held_ms
        if since:
            assert (held.place, held.looks) == (40 * since, 40 * since)  # type: ignore[union-attr]  # is there
            assert "prepare" not in result.timings
        else:
            assert not the_face(result).place_held
            assert not the_face(result).looks_held
        assert the_face(result).age > 10
        assert the_face(result).head_pose is not None
    assert np.mean(overlaps(results, full)) > 0.87
    assert min(overlaps(results, full)[5:]) > 0.7
    off = [np.abs(the_face(a).landmarks - the_face(b).landmarks).mean() for a, b in zip(results, full, strict=True)]
    assert np.mean(off) < 0.03 * WIDTH


async def test_who_is_looked_for_less_often_than_tracks_last_keeps_the_number(
    realtime: Models, pictures: list[Pixels]
) -> None:
    interval = 1.5 * realtime.pipeline.track.lost
    results = await analysed(recorded([pictures[0]] * 10, step=0.5), realtime, interval=interval)
    assert sum("detect" in result.timings for result in results) == 4
    assert {the_face(result).track_id for result in results} == {1}
    assert min(the_face(result).age for result in results) > 10


async def test_where_nothing_moves_nothing_is_searched_and_faces_stay(realtime: Models, pictures: list[Pixels]) -> None:
    frozen = [pictures[0]] * 60
    results = await analysed(recorded(frozen), realtime, motion=0.002)
    assert [n for n, result in enumerate(results) if "detect" in result.timings] == [0, 50]
    assert all("prepare" in result.timings for result in results)
    assert {the_face(result).track_id for result in results} == {1}
    for result in results:
        np.testing.assert_allclose(the_face(result).box, the_face(results[0]).box, atol=1)
    assert [round(the_face(result).place_held / STEP) for result in results[:52]] == [*range(50), 0, 1]


async def test_what_moves_is_searched_with_the_gate_too(
    realtime: Models, pictures: list[Pixels], full: list[FrameResult]
) -> None:
    results = await analysed(recorded(pictures), realtime, motion=0.002)
    searched = sum("detect" in result.timings for result in results)
    assert searched > 25
    assert min(overlaps(results, full)) > 0.8


async def test_the_gate_and_the_interval_together(realtime: Models, pictures: list[Pixels]) -> None:
    shown = [pictures[0]] * 15 + pictures[10:25]
    results = await analysed(recorded(shown), realtime, motion=0.002, interval=0.12)
    searched = [n for n, result in enumerate(results) if "detect" in result.timings]
    assert searched[0] == 0
    assert 15 <= searched[1] <= 18
    assert len(searched) >= 4
    assert {the_face(result).track_id for result in results} == {1}


def around(face: Face, margin: float) -> Polygon:
    x1, y1, x2, y2 = face.box + np.array([-margin, -margin, margin, margin])
    left, top, right, bottom = (float(np.clip(v, 0, 1)) for v in (x1 / WIDTH, y1 / HEIGHT, x2 / WIDTH, y2 / HEIGHT))
    return ((left, top), (right, top), (right, bottom), (left, bottom))


async def test_region_and_masks(realtime: Models, pictures: list[Pixels], full: list[FrameResult]) -> None:
    few, whole = pictures[:5], full[:5]
    here = around(the_face(whole[2]), 60)
    elsewhere: Polygon = ((0.0, 0.0), (0.05, 0.0), (0.05, 1.0), (0.0, 1.0))
    inside = await analysed(recorded(few), realtime, region=here)
    assert min(overlaps(inside, whole)) > 0.8
    assert np.abs(the_face(inside[4]).landmarks - the_face(whole[4]).landmarks).max() < 12
    assert not any(r.faces for r in await analysed(recorded(few), realtime, region=elsewhere))
    assert not any(r.faces for r in await analysed(recorded(few), realtime, masks=(elsewhere, here)))
    beside = await analysed(recorded(few), realtime, masks=(elsewhere,))
    assert overlaps(beside, whole) == [1.0] * 5


@pytest.mark.parametrize(
    "region",
    [((0.5, 0.5), (0.5, 0.5), (0.5, 0.5)), ((0.0, 0.3), (1.0, 0.3), (0.5, 0.3)), ((1.0, 0.0), (1.0, 1.0), (1.0, 0.5))],
)
async def test_a_region_of_no_size_is_no_trouble(realtime: Models, pictures: list[Pixels], region: Polygon) -> None:
    results = await analysed(recorded(pictures[:2]), realtime, region=region)
    assert [len(result.faces) for result in results] == [0, 0]


async def busy(models: Models, seconds: float) -> None:
    """Somebody who takes all the turns there are, for so long each."""

    async def one(share: Share) -> None:
        while True:
            async with share.turn():
                await asyncio.sleep(seconds)

    with models.engine.turns.share() as share:
        await asyncio.gather(*(one(share) for _ in range(3 * models.engine.turns.width)))


async def test_on_a_busy_machine_a_cameras_looks_are_held_and_a_files_never(
    realtime: Models, pictures: list[Pixels]
) -> None:
    alone = await analysed(live(pictures[:10]), realtime)
    others = asyncio.create_task(busy(realtime, 0.06))
    crowded = await analysed(live(pictures[:30]), realtime, interval_max=0)
    file = await analysed(recorded(pictures[:10]), realtime)
    others.cancel()
    await asyncio.gather(others, return_exceptions=True)
    assert await free(realtime.engine.turns) == realtime.engine.turns.width
    records = [frame_record(result, "camera", "s").faces[0] for result in crowded]
    looks = [record.held_ms.looks for record in records if record.held_ms]
    assert 5 < len(looks) < 30
    assert all(isinstance(held, int) and 0 <= held < 1200 for held in looks)
    assert all("detect" in result.timings for result in crowded)
    for before, after in pairwise(crowded):
        if the_face(after).looks_held:
            assert the_face(after).age == the_face(before).age
            assert the_face(after).quality == the_face(before).quality
    assert not any(the_face(result).looks_held for result in file)
    assert sum(the_face(result).looks_held > 0 for result in alone) < len(alone) / 2, "on a machine that is not busy"


async def test_whose_looks_are_due_in_a_file_does_not_depend_on_who_takes_the_results(
    workshop: Workshop, pictures: list[Pixels], tmp_path: Path
) -> None:
    pipeline = tmp_path / "calm.toml"
    text = (data_folder("pipelines") / "realtime.toml").read_text()
    pipeline.write_text(text.replace("interval = 0.0", "interval = 0.4"))
    models = await asyncio.to_thread(workshop.models, str(pipeline))
    blurred = [cv2.GaussianBlur(picture, (0, 0), 4).astype(np.uint8) for picture in pictures]
    scene = [(blurred if n // 4 % 2 else pictures)[n % 50] for n in range(60)]
    held: list[list[float]] = []
    for pause in (0.0, 0.05):
        held.append([])
        async with aclosing(analyse_stream(StreamSettings("file"), recorded(scene), models)) as results:
            async for result in results:
                held[-1] += [face.looks_held for face in result.faces] if isinstance(result, FrameResult) else []
                await asyncio.sleep(pause)
    assert held[0] == held[1]
    assert 0 < held[0].count(0) < len(held[0]) / 2


async def test_what_a_picture_waits_for_others_is_no_stage_of_its_own(realtime: Models, pictures: list[Pixels]) -> None:
    start = time.perf_counter()
    results = await analysed(recorded(pictures), realtime)
    took = 1000 * (time.perf_counter() - start)
    stages = sum(result.timings["detect"] + result.timings["describe"] for result in results)
    assert stages < took * realtime.engine.threads


async def test_on_a_busy_machine_a_cameras_faces_are_looked_for_less_often(
    realtime: Models, pictures: list[Pixels]
) -> None:
    others = asyncio.create_task(busy(realtime, 0.12))
    crowded = await analysed(live(pictures[:40]), realtime, interval_max=0.2)
    file = await analysed(recorded(pictures[:10]), realtime, interval_max=0.2)
    others.cancel()
    await asyncio.gather(others, return_exceptions=True)
    searched = [result.frame.at for result in crowded if "detect" in result.timings]
    assert 5 <= len(searched) < 38
    assert len({the_face(result).track_id for result in crowded}) == 1, "who is followed keeps the number"
    assert any(the_face(result).place_held for result in crowded)
    assert max(the_face(result).place_held for result in crowded) <= max(np.diff(searched))
    assert all("detect" in result.timings for result in file), "files can wait"


def overtaken(pictures: list[Pixels]) -> Source:
    """A camera whose first picture is analysed, and no other for want of turns; of the last there are no pixels."""

    async def frames(share: Share) -> AsyncGenerator[Frame, None]:
        await share.take()
        yield a_frame(0, 0.0, pictures[0], live=True)
        for seq, pixels in enumerate(pictures[1:], 1):
            frame = a_frame(seq, seq * STEP, pixels, live=True)
            yield msgspec.structs.replace(frame, skipped="superseded")
        frame = a_frame(len(pictures), len(pictures) * STEP, pixels, live=True)
        yield msgspec.structs.replace(frame, skipped="superseded", pixels=no_pixels)

    return frames


async def test_faces_are_followed_through_overtaken_pictures_for_a_while(
    realtime: Models, pictures: list[Pixels]
) -> None:
    results = await analysed(overtaken(pictures[:10]), realtime, interval_max=0.2)
    assert [result.frame.skipped for result in results] == [None] * 6 + ["superseded"] * 5
    assert [round(the_face(result).place_held / STEP) for result in results[:6]] == [*range(6)]
    assert {the_face(result).track_id for result in results[:6]} == {1}
    assert all(result.frame.pixels().shape == (HEIGHT, WIDTH, 3) for result in results[:6])
    assert all(result.frame.pixels is no_pixels for result in results[6:])
    never = await analysed(overtaken(pictures[:10]), realtime, interval_max=0)
    assert [result.frame.skipped for result in never] == [None] + ["superseded"] * 10
    blind = await analysed(overtaken(pictures[:2]), realtime, interval_max=0.2)
    assert [result.frame.skipped for result in blind] == [None, None, "superseded"]


async def test_who_takes_no_results_holds_no_turns(realtime: Models, pictures: list[Pixels], face_clip: Path) -> None:
    turns = realtime.engine.turns
    stream = StreamSettings(str(face_clip), realtime=True, loop=True)

    def source(share: Share) -> AsyncGenerator[Any, None]:
        return keep_open(stream, share, host(), Tally())

    ignored = [analyse_stream(stream, source, realtime) for _ in range(turns.width)]
    try:
        async with asyncio.timeout(30):
            for results in ignored:
                await anext(results)
            others = asyncio.create_task(busy(realtime, 0.1))  # so that pictures are passed over
            await asyncio.sleep(1)
            others.cancel()
            await asyncio.gather(others, return_exceptions=True)
            with turns.share() as share:
                for _ in range(turns.width):  # what was begun is analysed, and then they are all free
                    await share.take()
            assert len(await analysed(recorded(pictures[:5]), realtime)) == 5
    finally:
        for each in ignored:
            await each.aclose()
    assert await free(turns) == turns.width


async def test_a_stream_that_is_left_in_the_middle_gives_all_back(realtime: Models, pictures: list[Pixels]) -> None:
    turns = realtime.engine.turns
    results = analyse_stream(StreamSettings("camera"), recorded(pictures), realtime)
    async with aclosing(results):
        for _ in range(3):
            await anext(results)
    assert await free(turns) == turns.width
