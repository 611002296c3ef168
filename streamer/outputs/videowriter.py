"""The video of one stream: hides and draws faces, and writes pictures into files, of which there may be several.

A new file begins when the size of the pictures changes, after a failure, and of a camera with every hour.
"""

import contextlib
import logging
import shutil
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import msgspec

from streamer.analysis.hiding import Sighting, sighting, to_hide
from streamer.config import VideoSettings
from streamer.face import Floats, FrameResult
from streamer.media.overlay import draw, pixelate_boxes
from streamer.media.recording import Failure, Recording
from streamer.outputs.videofiles import VideoFiles

_log = logging.getLogger(__name__)
_BEFORE, _AFTER = 1.0, 0.5  # seconds around a picture in which a face may be seen that is hidden in it
_MOST_HELD = 16  # pictures that wait for those after them
_MB = 1_000_000
_LOOK = 1.0  # seconds between two looks at the free disk
_RETRY = 10.0  # seconds between two tries to write again
_AGAIN = 1.1  # times the floor must be free before that


class Picture(msgspec.Struct, frozen=True, eq=False):
    """A result that was not skipped, and when it is shown, in seconds from the start."""

    result: FrameResult
    at: float


class VideoFile(msgspec.Struct, frozen=True):
    """A video that was completed, or as far as it got."""

    path: Path
    pictures: int
    seconds: float


class VideoReport:
    """How it goes; changes while it does. `paused` are the streams that cannot be written, with the reasons."""

    def __init__(self) -> None:
        self.written = 0
        self.missed = 0
        self.paused: dict[str, str] = {}
        self.files: list[VideoFile] = []


class VideoWriter:
    """All methods are for one thread. What cannot be written is said once and counted, and tried again later."""

    def __init__(self, settings: VideoSettings, files: VideoFiles, stream: str, report: VideoReport) -> None:
        self.stream = stream
        self.report = report
        self._settings = settings
        self._files = files
        self._veil = Veil() if settings.blur else None
        self._recording: Recording | None = None
        self._zero: float | None = None  # the time in the stream at which the current file begins
        self._hour = 0
        self._looked = self._tried = -_RETRY
        self._missing = 0  # pictures since it was paused

    def add(self, picture: Picture) -> None:
        if self._veil is None:
            self._write(picture, None)
            return
        for ready, boxes in self._veil.add(picture):
            self._write(ready, boxes)

    def close(self) -> None:
        if self._veil is not None:
            for ready, boxes in self._veil.rest():
                self._write(ready, boxes)
        try:
            self._complete()
        except Failure as error:
            self._failed(_words(error))

    def _write(self, picture: Picture, hidden: Floats | None) -> None:
        if not self._may_write():
            self._miss()
            return
        try:
            pixels = picture.result.frame.pixels()
            if hidden is not None:
                pixels = pixelate_boxes(pixels, hidden)
            pixels = draw(pixels, picture.result.faces)
            height, width = pixels.shape[:2]
            recording = self._open(picture, width, height)
            recording.write(pixels, picture.at - (self._zero or 0.0))
        except Failure as error:
            self._miss()
            self._failed(_words(error))
        except Exception as error:  # noqa: BLE001  # the thread must not die: a file would wait for it for ever
            _log.exception("%s: a picture cannot be drawn", self.stream)
            self._miss()
            self._failed(f"{type(error).__name__}: {error}")
        else:
            self.report.written += 1

    def _miss(self) -> None:
        self._missing += 1
        self.report.missed += 1

    def _open(self, picture: Picture, width: int, height: int) -> Recording:
        """The file for a picture, a new one if need be."""
        frame, hour = picture.result.frame, int(time.time() // self._settings.segment_seconds)
        over = not self._files.single and frame.live and hour != self._hour
        if self._recording is not None and (over or self._recording.size != (width, height)):
            self._complete()
        if self._recording is None:
            path = self._files.create(self.stream, time.time())
            first = self._zero is None and not frame.live  # a file's own times are kept, from its beginning
            self._zero, self._hour = 0.0 if first else picture.at, hour
            try:
                self._recording = Recording(path, width, height, frame.captured - (picture.at - self._zero))
            except Failure:
                path.unlink(missing_ok=True)
                raise
            self._tell(path)
        return self._recording

    def _tell(self, path: Path) -> None:
        if self.report.paused.pop(self.stream, None) is not None:
            _log.warning("%s: the video goes on in %s; %d pictures are missing", self.stream, path, self._missing)
            self._missing = 0
        elif self._files.single and path != self._files.path:
            _log.warning("%s: the video is written into %s", self.stream, path)
        else:
            _log.info("%s: the video is written into %s", self.stream, path)

    def _complete(self) -> None:
        recording, self._recording = self._recording, None
        if recording is not None:
            try:
                recording.close()
            finally:
                self.report.files.append(VideoFile(recording.path, recording.pictures, recording.seconds))

    def _may_write(self) -> bool:
        now, paused = time.monotonic(), self.stream in self.report.paused
        if now - (self._tried if paused else self._looked) < (_RETRY if paused else _LOOK):
            return not paused
        self._tried = self._looked = now
        floor = self._settings.min_free_mb * _MB * (_AGAIN if paused else 1)
        with contextlib.suppress(OSError):  # then writing itself will tell what is wrong
            if shutil.disk_usage(self._files.folder).free < floor:
                self._failed(f"less than {self._settings.min_free_mb:g} MB of the disk are free")
                return False
        return True

    def _failed(self, why: str) -> None:
        self._tried = time.monotonic()
        with contextlib.suppress(*Failure):
            self._complete()
        if self.stream not in self.report.paused:
            self.report.paused[self.stream] = why
            _log.error("%s: the video is paused: %s. The analysis goes on", self.stream, why)


class Veil:
    """Holds pictures back until it is known which faces are in those around them."""

    def __init__(self) -> None:
        self._held: deque[tuple[Picture, Sighting]] = deque()
        self._seen: deque[Sighting] = deque()

    def add(self, picture: Picture) -> Iterator[tuple[Picture, Floats]]:
        """Those that are ready, with the boxes (n, 4) to hide in each."""
        seen = sighting(picture.result, picture.at)
        self._held.append((picture, seen))
        self._seen.append(seen)
        while picture.at - self._held[0][0].at >= _AFTER or len(self._held) > _MOST_HELD:
            yield self._pop()

    def rest(self) -> Iterator[tuple[Picture, Floats]]:
        while self._held:
            yield self._pop()

    def _pop(self) -> tuple[Picture, Floats]:
        picture, seen = self._held.popleft()
        while self._seen[0].at < seen.at - _BEFORE:
            self._seen.popleft()
        around = [other for other in self._seen if other is not seen and other.at <= seen.at + _AFTER]
        return picture, to_hide(seen, around)


def _words(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error)
