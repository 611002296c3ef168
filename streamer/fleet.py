"""The streams of a run: each is started, changed, paused and removed without touching the others."""

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import partial

from streamer.analysis.visits import Visits
from streamer.config import StreamSettings
from streamer.contract import State, encode
from streamer.errors import NotRunningError, OutputError, PausedError, StreamerError, UnknownStreamError
from streamer.face import Clock, FrameResult
from streamer.flow import Hub, Message, frame_message
from streamer.media.source import StateChange, Tally
from streamer.records import frame_record, status_record, track_record

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
        span = now - recent[0] if recent else 0.0
        return (len(recent) - 1) / span if span > 0 else 0.0


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
        self.said: tuple[State, str] | None = None  # the state that was published last, and its error's code
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
        self.visits = Visits()
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
        self.visits.update(result)
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


Item = FrameResult | Message | StateChange
Analyse = Callable[[StreamReport], AsyncGenerator[Item, None]]


class Fleet:
    """All streams of a run, and whatever is done to them while it goes on. `reports` tells how each is doing.

    Changes are made one at a time, and whole: who asked for one may be cancelled meanwhile. All raise NotRunningError
    before and after the run.
    """

    def __init__(
        self,
        hub: Hub,
        analyse: Analyse,
        on_state: Callable[[StreamReport], None] = lambda _: None,
        *,
        raw: bool = False,
    ) -> None:
        """`analyse` gives the results of one stream, which fails with StreamerError; such as are messages already have
        their results with them. With `raw` all records carry what is not smoothed, too.
        """
        self.reports: dict[str, StreamReport] = {}
        self.running = False
        self._hub = hub
        self._analyse = analyse
        self._on_state = on_state
        self._raw = raw
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._changes: set[asyncio.Task[None]] = set()
        self._one_at_a_time = asyncio.Lock()
        self._news = asyncio.Event()  # a stream's task is over, or a change has been made
        self._failure: BaseException | None = None
        self._removed: dict[str, StreamReport] = {}

    async def run(self, streams: dict[str, StreamSettings]) -> None:
        """Until all streams have ended, or until cancelled; each has said then that it ended. Raises OutputError."""
        self.running = True
        try:
            for name, settings in streams.items():
                self._start(name, settings)
            while not self._failure and not self._finished:
                self._news.clear()
                await self._news.wait()
        finally:
            self.running = False
            await self._end()
        if self._failure:
            raise self._failure

    def report(self, name: str) -> StreamReport:
        """How a stream is doing. Raises UnknownStreamError."""
        if name not in self.reports:
            raise UnknownStreamError(f"there is no stream {name!r}", f"streams: {', '.join(self.reports) or 'none'}")
        return self.reports[name]

    async def put(self, name: str, settings: StreamSettings) -> None:
        """Add a stream, or give it other settings; nothing happens if they are the same. A paused one stays paused."""
        await self._change(partial(self._put, name, settings))

    async def remove(self, name: str) -> None:
        """End a stream and forget it. Raises UnknownStreamError."""
        await self._change(partial(self._remove, name))

    async def pause(self, name: str) -> None:
        """Leave the camera alone until `resume`; one that has ended stays so. Raises UnknownStreamError."""
        await self._change(partial(self._pause, name))

    async def resume(self, name: str) -> None:
        """Go on with a stream that was paused or has ended. Raises UnknownStreamError."""
        await self._change(partial(self._resume, name))

    async def apply(self, streams: dict[str, StreamSettings]) -> None:
        """Make these the streams: the others are removed, those whose settings differ are changed."""
        await self._change(partial(self._apply, streams))

    async def _change(self, work: Callable[[], Awaitable[None]]) -> None:
        async def alone() -> None:
            async with self._one_at_a_time:
                self._check_running()
                try:
                    await work()
                finally:
                    self._news.set()

        change = asyncio.create_task(alone())
        self._changes.add(change)
        change.add_done_callback(self._changes.discard)
        await asyncio.shield(change)

    async def _put(self, name: str, settings: StreamSettings) -> None:
        report = self.reports.get(name)
        if report is not None and report.paused:
            report.settings = settings
        elif report is None or report.settings != settings:
            await self._stop(name)
            if report is not None:
                await self._end_tracks(report)
            self._start(name, settings)

    async def _remove(self, name: str) -> None:
        report = self.report(name)
        await self._stop(name)
        await self._say_ended(report)
        self._removed[name] = self.reports.pop(name)
        self._hub.forget(name)

    async def _pause(self, name: str) -> None:
        report = self.report(name)
        if report.paused:
            return
        await self._stop(name)
        if report.state != "ended":
            await self._end_tracks(report)
            why = PausedError("the stream is paused", "resume it, and the camera is opened again")
            await self._publish(report, StateChange("offline", time.time(), why))

    async def _resume(self, name: str) -> None:
        report = self.report(name)
        if report.paused or report.state == "ended":
            await self._stop(name)  # the task of one that has just ended may not be quite over
            self._start(name, report.settings)

    async def _apply(self, streams: dict[str, StreamSettings]) -> None:
        for name in [name for name in self.reports if name not in streams]:
            await self._remove(name)
        for name, settings in streams.items():
            await self._put(name, settings)

    @property
    def _finished(self) -> bool:
        over = all(task.done() for task in self._tasks.values()) and not self._one_at_a_time.locked()
        return over and bool(self.reports) and all(report.state == "ended" for report in self.reports.values())

    def _check_running(self) -> None:
        if not self.running:
            raise NotRunningError(
                "the run is over, or has not begun", "start the program anew, or wait until it serves"
            )

    def _start(self, name: str, settings: StreamSettings) -> None:
        self._check_running()  # it may have come to its end while a stream was stopped
        report = self.reports.get(name) or self._removed.pop(name, None) or StreamReport(name)
        report.settings, report.state, report.error = settings, "connecting", None
        self.reports[name] = report
        self._tasks[name] = asyncio.create_task(self._run(report), name=name)
        self._tasks[name].add_done_callback(self._over)

    async def _stop(self, *names: str) -> None:
        """End the tasks of streams without a word about it."""
        tasks = {name: self._tasks.pop(name) for name in names if name in self._tasks}
        for name, task in tasks.items():
            if self.reports[name].state != "ended":  # else it only puts things in order yet
                task.cancel()
        if tasks:
            await asyncio.wait(tasks.values())

    def _over(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self._failure = self._failure or task.exception()
        self._news.set()

    async def _end(self) -> None:
        """Stop all streams at once. The log tells a run that was stopped from one that was killed."""
        await self._stop(*self._tasks)
        async with self._one_at_a_time:
            for report in self.reports.values():
                await self._say_ended(report)

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
            await self._publish(report, StateChange("ended", time.time(), analysis_failed(error)))

    async def _end_tracks(self, report: StreamReport) -> None:
        report.visits.finish()
        await self._tell_tracks(report)

    async def _tell_tracks(self, report: StreamReport) -> None:
        while report.visits.ended:
            visit = report.visits.ended.pop(0)  # before waiting: whoever stops the stream meanwhile tells the others
            record = track_record(visit, report.name, self._hub.session, raw=self._raw)
            await self._hub.publish(Message(report.name, encode(record), "track"))

    async def _say_ended(self, report: StreamReport) -> None:
        if report.state != "ended":
            await self._publish(report, StateChange("ended", time.time()))

    async def _publish(self, report: StreamReport, item: Item) -> None:
        if not isinstance(item, StateChange):
            message = item if isinstance(item, Message) else self._message(report.name, item)
            if message.result is not None:
                report.count(message.result)  # before anything is waited for: whoever stops this loses nothing
            await self._hub.publish(message)
            await self._tell_tracks(report)
            return
        # Known before anything is waited for: one that has ended is not stopped any more.
        report.state, report.error = item.state, item.error
        if item.state == "ended":
            await self._end_tracks(report)
        news = item.state, item.error.code if item.error else ""
        if news != report.said:
            report.said = news
            status = status_record(report.name, self._hub.session, item.at, item.state, item.error)
            await self._hub.publish(Message(report.name, encode(status)))
            self._on_state(report)

    def _message(self, name: str, result: FrameResult) -> Message:
        return frame_message(name, encode(frame_record(result, name, self._hub.session, raw=self._raw)), result)


def analysis_failed(error: Exception) -> StreamerError:
    """What is said of an error that nobody has foreseen."""
    return StreamerError(f"the analysis failed: {type(error).__name__}: {error}", "please report this")
