"""Videos of what was analysed, with boxes and labels, or with faces that nobody can know.

Each stream has a thread that draws and encodes. A camera never waits for it: pictures that it cannot take in time are
counted, and said. A file does: all its pictures are in its video.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Collection

import msgspec

from streamer.config import VideoSettings
from streamer.errors import OutputError
from streamer.face import FrameResult
from streamer.flow import Message
from streamer.media.recording import check_encoder
from streamer.media.timeline import Timeline
from streamer.outputs.videofiles import VideoFiles
from streamer.outputs.videowriter import Picture, VideoReport, VideoWriter

_log = logging.getLogger(__name__)
_MOST_WAITING = 8  # pictures of a stream that may wait to be encoded
_SAY_EVERY = 1.0  # seconds between two words about pictures that were left out
_LAST_WORDS = 10.0  # seconds that the end of the run waits for an encoder that is behind


class VideoRecorder:
    """Videos of all streams of a run."""

    name = "video"

    def __init__(self, settings: VideoSettings, streams: Collection[str], session: str = "") -> None:
        """Raises OutputError if they cannot be written."""
        check_encoder()
        self.report = VideoReport()
        self._settings = settings
        self._files = VideoFiles(settings, streams, session)
        self._running: dict[str, _Worker] = {}
        self._ending: list[_Worker] = []

    async def put(self, message: Message) -> None:
        """Of a file this waits until there is room for the picture; of all else it does not."""
        worker = self._running.get(message.stream)
        if message.result is not None:
            if worker is None:
                worker = _Worker(VideoWriter(self._settings, self._files, message.stream, self.report))
                self._running[message.stream] = worker
            await worker.put(message.result)
        elif worker is not None and _ends(message):
            worker.finish()
            self._ending = [*(each for each in self._ending if each.alive), self._running.pop(message.stream)]

    def figures(self) -> dict[str, float]:
        return {
            "frames_written_total": self.report.written,
            "frames_missed_total": self.report.missed,
            "frames_waiting": sum(worker.waiting for worker in self._running.values()),
            "paused": float(bool(self.report.paused)),
        }

    async def close(self) -> None:
        """Complete all files. Raises OutputError if the last pictures of the run could not be written."""
        workers = [*self._ending, *self._running.values()]
        for worker in workers:
            worker.finish()
        late = [worker for worker in workers if not await asyncio.to_thread(worker.join, _LAST_WORDS)]
        failures = [*self.report.paused.values(), *("the disk does not answer" for _ in late)]
        if failures:
            raise OutputError(f"{self._files.path}: the end of the video is not written: {failures[0]}")


class _State(msgspec.Struct):
    type: str
    state: str = ""


_state = msgspec.json.Decoder(_State).decode


def _ends(message: Message) -> bool:
    """Whether a record says that its stream has ended."""
    record = _state(message.data)
    return record.type == "status" and record.state == "ended"


class _Worker:
    """The thread of one stream, and the pictures that wait for it."""

    def __init__(self, writer: VideoWriter) -> None:
        self._writer = writer
        self._loop = asyncio.get_running_loop()
        self._timeline = Timeline()
        self._queue: deque[Picture] = deque()
        self._changed = threading.Condition()
        self._room = asyncio.Event()
        self._finished = False
        self._missed = 0
        self._said = -_SAY_EVERY
        self._thread = threading.Thread(target=self._work, name="video", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        return len(self._queue)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    async def put(self, result: FrameResult) -> None:
        at = self._timeline.place(result.frame)
        if result.frame.skipped:
            return
        if not result.frame.live:
            while len(self._queue) >= _MOST_WAITING:
                self._room.clear()
                await self._room.wait()
        with self._changed:
            if len(self._queue) >= _MOST_WAITING:
                self._queue.popleft()
                self._miss()
            self._queue.append(Picture(result, at))
            self._changed.notify()

    def finish(self) -> None:
        """No more pictures come: those that wait are written, and the file completed."""
        self._say()
        with self._changed:
            self._finished = True
            self._changed.notify()

    def join(self, timeout: float) -> bool:
        """Wait for that. False if it takes too long."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _miss(self) -> None:
        self._missed += 1
        self._writer.report.missed += 1
        if time.monotonic() - self._said >= _SAY_EVERY:
            self._say()

    def _say(self) -> None:
        if self._missed:
            _log.warning(
                "%s: pictures that were not encoded in time, and are not in the video: %d",
                self._writer.stream,
                self._missed,
            )
        self._missed, self._said = 0, time.monotonic()

    def _work(self) -> None:
        while (picture := self._next()) is not None:
            self._writer.add(picture)
        self._writer.close()

    def _next(self) -> Picture | None:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._finished)
            picture = self._queue.popleft() if self._queue else None
        try:
            self._loop.call_soon_threadsafe(self._room.set)
        except RuntimeError:  # the loop is closed when an encoder that hung comes back at last
            return None
        return picture
