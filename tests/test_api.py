"""The library: pictures from any thread, streams in any event loop."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest

import streamer
from streamer import FaceAnalyzer, FrameResult
from streamer.bench.scene import CLIP_FRAMES
from streamer.config import Settings
from streamer.errors import ConfigError, NotFoundError, NotRunningError, PictureError
from streamer.face import Face, Pixels


@pytest.fixture(scope="module")
def analyzer(settings: Settings) -> Iterator[FaceAnalyzer]:
    with FaceAnalyzer(settings=settings) as analyzer:
        yield analyzer


def test_a_picture_gives_its_faces(analyzer: FaceAnalyzer, portrait: Pixels) -> None:
    (face,) = analyzer.analyze(portrait)
    assert face.female > 0.5
    assert analyzer.analyze(np.zeros((100, 100, 3), np.uint8)) == []


def test_many_threads_may_ask(analyzer: FaceAnalyzer, portrait: Pixels) -> None:
    answers: list[list[Face]] = []
    threads = [threading.Thread(target=lambda: answers.append(analyzer.analyze(portrait))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(faces) for faces in answers] == [1] * 6


async def test_it_can_be_asked_within_a_running_loop(analyzer: FaceAnalyzer, portrait: Pixels) -> None:
    assert len(await asyncio.to_thread(analyzer.analyze, portrait)) == 1


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 4), np.uint8), np.zeros((9, 9, 3)), np.zeros((0, 9, 3), np.uint8)],
)
def test_what_is_no_picture_is_refused(analyzer: FaceAnalyzer, wrong: Pixels) -> None:
    with pytest.raises(PictureError, match="uint8"):
        analyzer.analyze(wrong)


async def test_a_stream_gives_result_after_result(analyzer: FaceAnalyzer, face_clip: Path) -> None:
    results: list[FrameResult] = [result async for result in analyzer.stream(str(face_clip))]
    assert [result.frame.index for result in results] == list(range(CLIP_FRAMES))
    assert {face.track_id for result in results for face in result.faces} == {1}
    assert results[0].frame.pixels().shape == (720, 1280, 3)


async def test_a_stream_can_be_left_and_another_begun(analyzer: FaceAnalyzer, face_clip: Path) -> None:
    for _ in range(3):
        async with aclosing(analyzer.stream(str(face_clip))) as results:
            assert (await anext(results)).frame.seq == 0


async def test_a_stream_that_fails_says_so(analyzer: FaceAnalyzer, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        await anext(analyzer.stream(str(tmp_path / "none.mp4")))


def test_an_unknown_pipeline_is_refused(settings: Settings) -> None:
    with pytest.raises(ConfigError, match="unknown pipeline"):
        FaceAnalyzer("fast", settings=settings)


def test_the_package_offers_what_it_names() -> None:
    for name in streamer.__all__:
        assert getattr(streamer, name) is not None
    with pytest.raises(AttributeError):
        streamer.nothing  # noqa: B018  # the look-up is the test


async def test_who_is_cancelled_while_he_waits_for_a_result_is_just_that(analyzer: FaceAnalyzer) -> None:
    async def watch(seen: asyncio.Event) -> None:
        async for _ in analyzer.stream("demo"):
            seen.set()

    for _ in range(5):
        seen = asyncio.Event()
        watching = asyncio.create_task(watch(seen))
        await asyncio.wait_for(seen.wait(), 30)
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching


async def test_nobody_waits_for_an_analyzer_that_was_closed(settings: Settings, portrait: Pixels) -> None:
    analyzer, seen = FaceAnalyzer("realtime", settings=settings), asyncio.Event()

    async def watch() -> None:
        async for _ in analyzer.stream("demo"):
            seen.set()

    watching = asyncio.create_task(watch())
    await asyncio.wait_for(seen.wait(), 30)
    asking = [asyncio.create_task(asyncio.to_thread(analyzer.analyze, portrait)) for _ in range(4)]
    await asyncio.to_thread(analyzer.close)
    with pytest.raises(NotRunningError, match="closed"):
        await asyncio.wait_for(watching, 30)
    for answer in await asyncio.wait_for(asyncio.gather(*asking, return_exceptions=True), 30):
        assert isinstance(answer, NotRunningError) or len(answer) == 1  # type: ignore[arg-type]
    with pytest.raises(NotRunningError, match="closed"):
        analyzer.analyze(portrait)
    with pytest.raises(NotRunningError, match="closed"):
        await anext(analyzer.stream("demo"))
    analyzer.close()
