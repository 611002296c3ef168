"""The path of a frame, and nothing else: detect -> track -> describe -> smooth -> result."""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from contextlib import aclosing

import msgspec
import numpy as np

from streamer.analysis.cuts import CutDetector, thumbnail
from streamer.analysis.looks import Looks
from streamer.analysis.motion import MotionGate
from streamer.analysis.pace import Pace
from streamer.analysis.pyramid import Pyramid, Raster
from streamer.analysis.regions import Regions
from streamer.analysis.smoothing import Smoother
from streamer.analysis.tracking import NOBODY, Tracked, Tracker
from streamer.config import StreamSettings
from streamer.face import Detections, Face, Float64s, Frame, FrameResult, Pixels, no_pixels
from streamer.flow import each, ordered
from streamer.inference.describer import Asked
from streamer.inference.detectors import Known
from streamer.inference.models import Models
from streamer.media.source import SUPERSEDED, StateChange
from streamer.turns import Share

_PER_WAIT = 10  # looks, and places, are held so many times as long as a stream waits for a turn
_GLANCES = 4  # for each full reading, where faces are looked for less often than they should be
_HELD_UP = 2  # times as long as usual
_MOMENT = 1e-3  # seconds

Item = Frame | StateChange
Source = Callable[[Share], AsyncIterable[Item]]


async def analyse_stream(
    stream: StreamSettings, source: Source, models: Models, keep_raw: bool = False, first_track: int = 1
) -> AsyncGenerator[FrameResult | StateChange, None]:
    """Results of the frames of one stream, in order, with its changes of state in their places.

    `source` gives the frames, for each of which it has taken a turn from the share; the turns are given back here.
    Tracks are numbered from `first_track` on.
    """
    with models.engine.turns.share() as share:
        path = _Path(stream, models, share, keep_raw, first_track)
        turns = models.engine.turns  # as many as there ever are may be held, and some results wait to be taken
        analysed = ordered(source(share), path.analyse, turns.most + turns.width, _passes_through)
        async with aclosing(each(analysed, path.smooth)) as results:
            async for result in results:
                yield result


async def analyse_picture(
    pixels: Pixels, models: Models, threshold: float | None = None, max_faces: int | None = None
) -> tuple[Face, ...]:
    """The faces in one picture, uint8 (height, width, 3) BGR, largest first; nothing is tracked or smoothed.

    `threshold` takes the place of the pipeline's own; only the surest `max_faces` are described.
    """
    async with models.engine.stills.turn():
        return await models.engine.offload(_faces, pixels, models, threshold, max_faces)


def _faces(pixels: Pixels, models: Models, threshold: float | None, max_faces: int | None) -> tuple[Face, ...]:
    picture = Pyramid.of(pixels)
    if threshold is None:
        found = models.detector(picture)
    else:
        found = models.detector(picture, threshold)
        found = found[found.scores >= threshold]
    return models.describe([Asked(picture, found[:max_faces])])[0]


class _Seen(msgspec.Struct, eq=False):
    """A frame on its way, with what the stations have found so far. `found` is None where faces were not looked for:
    then they are those of `place_held` seconds ago.
    """

    frame: Frame
    timings: dict[str, float]
    picture: Pyramid | None = None
    thumbnail: Pixels | None = None
    found: Detections | None = None
    everything: Detections = Detections.none()  # that the detector found, whether it counts or not
    tracked: Tracked = NOBODY
    place_held: float = 0.0
    looks_held: Float64s = np.zeros(0)
    faces: tuple[Face, ...] = ()


class _FullReading:
    """What is `known` of a stream's faces once a picture has been read in full, and that is `done`."""

    def __init__(self) -> None:
        self.done = asyncio.Event()
        self.known = Known()


class _Path:
    """The stations of one stream, and what they remember from frame to frame."""

    def __init__(self, stream: StreamSettings, models: Models, share: Share, keep_raw: bool, first_track: int) -> None:
        pipeline = models.pipeline
        # Nobody is seen between two searches; that must not end the tracks.
        longest = max(stream.interval, stream.interval_max)
        track = msgspec.structs.replace(pipeline.track, lost=max(pipeline.track.lost, 2 * longest))
        self._models = models
        self._share = share
        self._keep_raw = keep_raw
        self._stream = stream
        self._searches = Pace(stream.interval)
        self._faint = track.faint
        # A glance may be the last look before the picture is still for long.
        self._glances = models.detector.glances and stream.full_interval > stream.interval and not stream.motion
        self._full_searches = Pace(stream.full_interval)
        self._full_reading = _FullReading()  # the newest
        self._full_reading.done.set()
        self._motion = MotionGate(stream.motion)
        self._regions = Regions(stream.region, stream.masks)
        self._cuts = CutDetector(track.cut)
        self._tracker = Tracker(track, first_track)
        self._looks = Looks(track.lost)
        self._smoother = Smoother(pipeline.smooth, track.lost)
        self._searched = -math.inf  # when faces were looked for last
        self._dropped = 0
        self._tracked = asyncio.Event()  # of the newest frame on its way: whether it has been tracked
        self._tracked.set()

    async def analyse(self, item: Item) -> _Seen | Item:
        """Frames side by side, but tracked in their order. Skipped ones and changes of state pass through."""
        if isinstance(item, StateChange) or (item.skipped and item.skipped != SUPERSEDED):
            return item
        before, self._tracked = self._tracked, asyncio.Event()
        if item.skipped:
            return await self._follow(item, before, self._tracked)
        tracked, seen = self._tracked, _Seen(item, {})
        try:
            try:
                if self._motion.threshold:  # stillness, too, is judged in order
                    await before.wait()
                self._searches.period = interval = self._search_interval(item)
                self._full_searches.period = self._stream.full_interval + _GLANCES * (interval - self._stream.interval)
                if self._searches.due(item.at):
                    await self._search(seen)
                await before.wait()
                self._track(seen)
            finally:
                tracked.set()
            await self._describe(seen)
        finally:
            self._share.give_back()
        return seen

    async def _follow(self, frame: Frame, before: asyncio.Event, tracked: asyncio.Event) -> _Seen | Item:
        """A frame that was overtaken while the machine was busy: faces are followed through it, if only for so long."""
        try:
            await before.wait()
            if frame.at - self._searched > self._stream.interval_max or frame.pixels is no_pixels:
                return frame
            seen = _Seen(msgspec.structs.replace(frame, skipped=None), {})
            self._track(seen)
        finally:
            tracked.set()
        await self._describe(seen)
        return seen

    async def _search(self, seen: _Seen) -> None:
        """Look for faces; which of the readings is a full one is known by the times alone, and so are the results."""
        offload, before = self._models.engine.offload_frame, self._full_reading
        if not self._glances:
            await offload(self._detect, seen, before.known)
        elif not self._full_searches.due(seen.frame.at):
            await before.done.wait()
            await offload(self._detect, seen, before.known, True)
        else:
            reading = self._full_reading = _FullReading()
            try:
                await before.done.wait()
                reading.known = before.known  # and stays so if this reading fails
                reading.known = await offload(self._detect, seen, before.known)
            finally:
                reading.done.set()

    def _detect(self, seen: _Seen, known: Known, glance: bool = False) -> Known:
        """Read the picture, and tell what is known afterwards."""
        frame, start = seen.frame, time.perf_counter()
        seen.picture = picture = _pyramid(frame)
        window = self._window(picture)
        moved = self._motion.update(window, frame.at)
        ready = time.perf_counter()
        seen.timings["prepare"] = _ms(start, ready)
        if not moved:
            return known
        detector = self._models.detector
        if not self._glances:
            found = detector(window)
        else:
            found = (detector.glance if glance else detector.search)(window, self._faint, known)
        seen.everything = self._regions.placed(found, frame.width, frame.height)
        counts = self._regions.counts(seen.everything, frame.width, frame.height)
        seen.found = seen.everything[counts]
        seen.thumbnail = thumbnail(picture)
        if self._glances and not glance:
            known = detector.remember(window, found[counts & (found.scores >= self._faint)], known)
        seen.timings["detect"] = _ms(ready)
        return known

    def _track(self, seen: _Seen) -> None:
        start, at = time.perf_counter(), seen.frame.at
        if seen.thumbnail is not None and self._cuts.update(seen.thumbnail):
            self._tracker.reset()
        if seen.found is None:
            seen.tracked = self._tracker.coast(at, still=seen.picture is not None)
            seen.place_held = max(at - self._searched, _MOMENT)
            seen.looks_held = self._held(seen.tracked, at, math.inf)
        else:
            seen.tracked, self._searched = self._tracker.update(seen.found, at), at
            seen.looks_held = self._held(seen.tracked, at, self._look_interval(seen.frame))
        seen.timings["track"] = _ms(start)

    def _held(self, tracked: Tracked, at: float, interval: float) -> Float64s:
        boxes = tracked.detections.boxes
        return self._looks.held(tracked.ids, boxes[:, 3] - boxes[:, 1], at, interval)

    async def _describe(self, seen: _Seen) -> None:
        start, tracked = time.perf_counter(), seen.tracked
        if seen.picture is None or seen.found is None:
            seen.faces = self._models.describe.carried(tracked, seen.place_held, seen.looks_held)
        elif len(tracked.ids):
            asked = Asked(seen.picture, tracked.detections, tracked.ids, seen.looks_held)
            seen.faces, took = await self._models.described(asked)
            start = time.perf_counter() - took  # what the picture waited is no cost of it
        seen.timings["describe"] = _ms(start)

    def smooth(self, item: _Seen | Item) -> FrameResult | StateChange:
        if isinstance(item, StateChange):
            return item
        if isinstance(item, Frame):
            return self._skipped(item)
        start = time.perf_counter()
        if item.frame.live:  # of a file's frames more or fewer may be on their way, but their results are the same
            self._looks.judged(item.faces)
        faces = self._smoother.update(item.faces, item.frame.at, self._keep_raw)
        item.timings["smooth"] = _ms(start)
        if self._is_old(item.frame):
            return self._skipped(msgspec.structs.replace(item.frame, skipped="stale"))
        dropped, self._dropped = self._dropped, 0
        now, tracked = time.monotonic(), item.tracked
        return FrameResult(item.frame, faces, item.timings, dropped, now, tracked.alive, item.everything)

    def _skipped(self, frame: Frame) -> FrameResult:
        self._dropped += 1
        frame = msgspec.structs.replace(frame, pixels=no_pixels)
        return FrameResult(frame, (), {}, self._dropped, time.monotonic())

    def _is_old(self, frame: Frame) -> bool:
        """Whether a result was held up, by a model that was loaded for it or a slow taker, until it was old news. On a
        machine on which all take that long they are given all the same.
        """
        took = time.monotonic() - frame.arrived
        return frame.live and took > self._stream.max_age and took > _HELD_UP * self._share.usual

    def _window(self, picture: Pyramid) -> Pyramid:
        """The part of the picture that holds the region."""
        window = self._regions.window(picture.width, picture.height)
        return picture if window == (0, 0, picture.width, picture.height) else picture.window(*window)

    def _search_interval(self, frame: Frame) -> float:
        """Seconds until faces are looked for again: on a machine that is too busy that gives way, before frames do."""
        return self._stretched(frame, self._stream.interval, self._stream.interval_max)

    def _look_interval(self, frame: Frame) -> float:
        """Seconds until a face's looks are due again: they give way further than anything else."""
        settings = self._models.pipeline.attributes
        return self._stretched(frame, settings.interval, settings.interval_max)

    def _stretched(self, frame: Frame, interval: float, most: float) -> float:
        return max(interval, min(_PER_WAIT * self._share.waited, most)) if frame.live else interval


def _pyramid(frame: Frame) -> Pyramid:
    return Pyramid(frame.pixels) if isinstance(frame.pixels, Raster) else Pyramid.of(frame.pixels())


def _passes_through(item: Item) -> bool:
    return isinstance(item, StateChange) or item.skipped is not None


def _ms(start: float, end: float | None = None) -> float:
    return ((time.perf_counter() if end is None else end) - start) * 1000
