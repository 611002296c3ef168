"""The path of a frame, and nothing else: detect -> track -> describe -> smooth -> result."""

import time
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing
from typing import Any

import msgspec

from streamer.analysis.cuts import CutDetector, thumbnail
from streamer.analysis.smoothing import Smoother
from streamer.analysis.tracking import Tracked, Tracker
from streamer.face import Detections, Face, Frame, FrameResult, Pixels
from streamer.flow import each, ordered
from streamer.inference.models import Models
from streamer.media.source import StateChange

_AT_A_TIME = 2  # frames in detection, and in description: one computes while another changes hands


async def analyse_stream(
    source: AsyncIterable[Frame | StateChange], models: Models, keep_raw: bool = False
) -> AsyncGenerator[FrameResult | StateChange, None]:
    """Results of the frames of one stream, in order, with its changes of state in their places."""
    path = _Path(models, keep_raw)
    detected = ordered(source, path.detect, _AT_A_TIME)
    described = ordered(each(detected, path.track), path.describe, _AT_A_TIME)
    async with aclosing(each(described, path.smooth)) as results:
        async for result in results:
            yield result


async def analyse_picture(pixels: Pixels, models: Models) -> tuple[Face, ...]:
    """The faces in one picture, uint8 (height, width, 3) BGR, largest first; nothing is tracked or smoothed."""
    prepared = await models.engine.offload(models.detector.prepare, pixels)
    found = await models.detector.detect(pixels, prepared)
    return await models.describe(pixels, found)


class _Seen(msgspec.Struct, eq=False):
    """A frame on its way, with what the stations have found so far."""

    frame: Frame
    pixels: Pixels
    thumbnail: Pixels
    found: Detections
    timings: dict[str, float]
    tracked: Tracked | None = None
    faces: tuple[Face, ...] = ()


class _Path:
    """The stations of one stream. `detect` and `describe` may work on several frames at once; `track` and `smooth`
    see them one by one and in order. Skipped frames and changes of state pass through.
    """

    def __init__(self, models: Models, keep_raw: bool) -> None:
        pipeline = models.pipeline
        self._models = models
        self._keep_raw = keep_raw
        self._cuts = CutDetector(pipeline.track.cut)
        self._tracker = Tracker(pipeline.track)
        self._smoother = Smoother(pipeline.smooth, pipeline.track.lost)
        self._dropped = 0

    async def detect(self, item: Frame | StateChange) -> "_Seen | Frame | StateChange":
        if isinstance(item, StateChange) or item.skipped:
            return item
        start = time.perf_counter()
        pixels, small, prepared = await self._models.engine.offload(self._prepare, item)
        ready = time.perf_counter()
        found = await self._models.detector.detect(pixels, prepared)
        return _Seen(item, pixels, small, found, {"prepare": _ms(start, ready), "detect": _ms(ready)})

    def track(self, item: "_Seen | Frame | StateChange") -> "_Seen | Frame | StateChange":
        if isinstance(item, _Seen):
            start = time.perf_counter()
            if self._cuts.update(item.thumbnail):
                self._tracker.reset()
            item.tracked = self._tracker.update(item.found, item.frame.at)
            item.timings["track"] = _ms(start)
        return item

    async def describe(self, item: "_Seen | Frame | StateChange") -> "_Seen | Frame | StateChange":
        if isinstance(item, _Seen) and item.tracked is not None:
            start = time.perf_counter()
            ids = [int(number) for number in item.tracked.ids]
            item.faces = await self._models.describe(item.pixels, item.tracked.detections, ids)
            item.timings["describe"] = _ms(start)
        return item

    def smooth(self, item: "_Seen | Frame | StateChange") -> FrameResult | StateChange:
        if isinstance(item, StateChange):
            return item
        if isinstance(item, Frame):
            self._dropped += 1
            return FrameResult(item, (), {}, self._dropped, time.monotonic())
        start = time.perf_counter()
        faces = self._smoother.update(item.faces, item.frame.at, self._keep_raw)
        item.timings["smooth"] = _ms(start)
        dropped, self._dropped = self._dropped, 0
        return FrameResult(item.frame, faces, item.timings, dropped, time.monotonic())

    def _prepare(self, frame: Frame) -> tuple[Pixels, Pixels, Any]:
        pixels = frame.pixels()
        prepared = self._models.detector.prepare(pixels)
        return pixels, thumbnail(pixels), prepared


def _ms(start: float, end: float | None = None) -> float:
    return ((time.perf_counter() if end is None else end) - start) * 1000
