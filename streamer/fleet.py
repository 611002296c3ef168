"""The streams of a run: each is started, changed, paused and removed without touching the others."""

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from streamer.config import StreamSettings
from streamer.contract import State, encode, frame_record, status_record
from streamer.errors import OutputError, PausedError, StreamerError, UnknownStreamError
from streamer.face import Clock, FrameResult
from streamer.flow import Hub, Message
from streamer.media.source import StateChange, Tally

_log = logging.getLogger(__name__)
_WINDOW = 2.0  # seconds over which frames a second are measured


class Rate:
    """How often something happens, in times a second, over the last moments."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()

    def count(self, at: float) -> None:
        self._times.append(at)
        while at - self._times[0] > _WINDOW:
            self._times.popleft()

    def at(self, now: float) -> float:
        recent = [moment for moment in self._times if now - moment <= _WINDOW]
        return (len(recent) - 1) / (now - recent[0]) if len(recent) > 1 else 0.0


class StreamReport:
    """How a stream is doing; changes while it runs.

    `age` is the newest result's, `looks_held` how old the oldest value in it is, in seconds. A stream that is stopped
    and started again goes on with `next_seq` and `next_track`.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.settings = StreamSettings("")
        self.state: State = "connecting"
        self.error: StreamerError | None = None
        self.told: tuple[State, str] | None = None  # the state that was published last, and its error's code
        self.processed = 0
        self.skipped: Counter[str] = Counter()  # by reason
        self.faces = 0
        self.age = 0.0
        self.looks_held = 0.0
        self.clock: Clock | None = None
        self.size = (0, 0)
        self.delivered = Rate()
        self.analysed = Rate()
        self.source = Tally()
        self.next_seq = 0
        self.next_track = 1

    @property
    def failed(self) -> bool:
        """Whether it has ended with an error."""
        return self.state == "ended" and self.error is not None

    @property
    def paused(self) -> bool:
        return isinstance(self.error, PausedError)

    def count(self, result: FrameResult) -> None:
        frame = result.frame
        self.next_seq = frame.seq + 1
        self.delivered.count(frame.arrived)
        self.clock, self.size = frame.clock, (frame.width, frame.height)
        if frame.skipped:
            self.skipped[frame.skipped] += 1
            return
        self.processed += 1
        self.faces = len(result.faces)
        self.age = result.took
        self.looks_held = max((face.looks_held for face in result.faces), default=0.0)
        self.analysed.count(result.published)
        self.next_track = max([self.next_track, *(face.track_id + 1 for face in result.faces if face.track_id)])


Analyse = Callable[[StreamReport], AsyncGenerator[FrameResult | StateChange, None]]


class Fleet:
    """All streams of a run, and whatever is done to them while it goes on. `reports` tells how each is doing."""

    def __init__(
        self,
        hub: Hub,
        session: str,
        analyse: Analyse,
        on_state: Callable[[StreamReport], None] = lambda _: None,
    ) -> None:
        """`analyse` gives the results of one stream, which fails with StreamerError."""
        self.reports: dict[str, StreamReport] = {}
        self._hub = hub
        self._session = session
        self._analyse = analyse
        self._on_state = on_state
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._changed = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()
        self._stopping: set[str] = set()
        self._removed: dict[str, StreamReport] = {}

    async def run(self, streams: dict[str, StreamSettings]) -> None:
        """Until all streams have ended, or until cancelled. Raises OutputError."""
        try:
            async with asyncio.TaskGroup() as self._group:
                for name, settings in streams.items():
                    self._start(name, settings)
                while not self._finished:
                    self._changed.clear()
                    await self._changed.wait()
        except* StreamerError as failed:
            raise failed.exceptions[0] from None
        finally:
            self._group = None

    def report(self, name: str) -> StreamReport:
        """How a stream is doing. Raises UnknownStreamError."""
        if name not in self.reports:
            raise UnknownStreamError(f"there is no stream {name!r}", f"streams: {', '.join(self.reports) or 'none'}")
        return self.reports[name]

    async def put(self, name: str, settings: StreamSettings) -> None:
        """Add a stream, or give it other settings; nothing happens if they are the same."""
        async with self._one_at_a_time:
            report = self.reports.get(name)
            if report is None or report.settings != settings:
                await self._stop(name)
                self._start(name, settings)

    async def remove(self, name: str) -> None:
        """End a stream and forget it. Raises UnknownStreamError."""
        async with self._one_at_a_time:
            report = self.report(name)
            await self._stop(name)
            await self._publish(report, StateChange("ended", time.time()))
            self._removed[name] = self.reports.pop(name)
            self._hub.forget(name)

    async def pause(self, name: str) -> None:
        """Leave the camera alone until `resume`. Raises UnknownStreamError."""
        async with self._one_at_a_time:
            report = self.report(name)
            if not report.paused:
                await self._stop(name)
                why = PausedError("the stream is paused", "resume it, and the camera is opened again")
                await self._publish(report, StateChange("offline", time.time(), why))

    async def resume(self, name: str) -> None:
        """Go on with a stream that was paused or has ended. Raises UnknownStreamError."""
        async with self._one_at_a_time:
            report = self.report(name)
            if report.paused or report.state == "ended":
                self._start(name, report.settings)

    async def apply(self, streams: dict[str, StreamSettings]) -> None:
        """Make these the streams: the others are removed, those whose settings differ are changed."""
        for name in [name for name in self.reports if name not in streams]:
            await self.remove(name)
        for name, settings in streams.items():
            await self.put(name, settings)

    @property
    def _finished(self) -> bool:
        return bool(self.reports) and all(report.state == "ended" for report in self.reports.values())

    def _start(self, name: str, settings: StreamSettings) -> None:
        assert self._group is not None, "streams are started while the fleet runs"
        report = self.reports.get(name) or self._removed.pop(name, None) or StreamReport(name)
        report.settings, report.state, report.error = settings, "connecting", None
        self.reports[name] = report
        self._tasks[name] = self._group.create_task(self._run(report), name=name)

    async def _stop(self, name: str) -> None:
        """End the stream's task without a word about it."""
        task = self._tasks.pop(name, None)
        if task is None:
            return
        self._stopping.add(name)
        try:
            task.cancel()
            await asyncio.wait([task])
        finally:
            self._stopping.discard(name)

    async def _run(self, report: StreamReport) -> None:
        """One stream to its end; what fails in it ends only it."""
        try:
            async with aclosing(self._analyse(report)) as items:
                async for item in items:
                    await self._publish(report, item)
        except OutputError:
            raise
        except StreamerError as error:
            await self._publish(report, StateChange("ended", time.time(), error))
        except Exception as error:  # noqa: BLE001  # said, logged, and no harm to the other streams
            _log.exception("stream %s failed", report.name)
            failure = StreamerError(f"the analysis failed: {type(error).__name__}: {error}", "please report this")
            await self._publish(report, StateChange("ended", time.time(), failure))
        except asyncio.CancelledError:
            # The log tells a run that was stopped from one that was killed.
            if report.state != "ended" and report.name not in self._stopping:
                await self._publish(report, StateChange("ended", time.time()))
            raise
        finally:
            self._changed.set()

    async def _publish(self, report: StreamReport, item: FrameResult | StateChange) -> None:
        if isinstance(item, FrameResult):
            report.count(item)
            record = frame_record(item, report.name, self._session)
            await self._hub.publish(Message(report.name, encode(record), item))
            return
        report.state, report.error = item.state, item.error
        before, report.told = report.told, (item.state, item.error.code if item.error else "")
        if report.told == before:  # a stream that is started anew, or removed, in the state it is in already
            return
        status = status_record(report.name, self._session, item.at, item.state, item.error)
        await self._hub.publish(Message(report.name, encode(status)))
        self._on_state(report)
