"""One worker, seen from the gateway."""

import asyncio
import contextlib
import itertools
import logging
import signal
import socket
import subprocess
import sys
import time
from contextlib import aclosing, suppress

import msgspec

from streamer.errors import NoPictureError, StreamerError, WorkerDiedError
from streamer.face import Look, Shot
from streamer.fleet import StreamReport
from streamer.workers.run import DiedError, Run
from streamer.workers.wire import (
    REPORTS,
    Ask,
    Beat,
    Begin,
    Changed,
    Close,
    Failed,
    Farewell,
    Order,
    Over,
    Ready,
    Report,
    Result,
    Said,
    Shown,
    Start,
    Stop,
    packed,
    revived,
    unpacked,
)

_log = logging.getLogger(__name__)
# -P: nothing is imported from the working folder.
_COMMAND = (sys.executable, "-P", "-m", "streamer.workers.worker")
_STOP = 1.2  # seconds that a run may take to stop
_CLOSE, _CLOSE_VIDEO = 1.0, 11.0  # seconds for a worker to put itself in order, without and with videos
_SHOW = 5.0  # seconds for a picture
_SILENT = 30  # seconds of silence after which a worker is taken for stuck
_WAIT_MIN, _WAIT_NEXT, _WAIT_MAX = 0.1, 1.0, 30.0  # seconds before one is started anew: first, then, doubled up to this
_GOOD = 60.0  # seconds that one must live for the next wait to be short again
_HINT = "another one takes its place"


class WorkerProcess:
    """Keeps a worker alive until it is closed.

    `streams` counts those that it has been given, `failing` says that it dies again and again, `pid` is None while
    there is none. `figures` are its newest, `totals` those with the counts of its predecessors.
    """

    def __init__(self, number: int, begin: Begin, warm: asyncio.Event, precisions: dict[str, str]) -> None:
        """It waits until the cache is `warm`, unless it is the one that warms it."""
        self.streams = 0
        self.restarts = 0
        self.pid: int | None = None
        self.figures: dict[str, float] = {}
        self._before: dict[str, float] = {}
        self._number = number
        self._begin = begin
        self._warm = warm
        self._precisions = precisions
        self._runs: dict[int, Run] = {}
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[Shot | None]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._up = _promise()
        self._failure: StreamerError | None = None
        self._farewell: Farewell | None = None
        self._closing = False
        self._was_up = False
        self._began = time.monotonic()
        self._wait = _WAIT_MIN
        self._silent = 0
        self._alive = asyncio.create_task(self._keep_alive(), name=f"worker {number}")

    @property
    def failing(self) -> bool:
        return self._wait > _WAIT_MIN and time.monotonic() - self._began < _GOOD

    @property
    def totals(self) -> dict[str, float]:
        names = dict.fromkeys((*self._before, *self.figures))
        return {name: self._before.get(name, 0) + self.figures.get(name, 0) for name in names}

    async def ready(self) -> None:
        """Until it is. Raises DiedError if it dies before."""
        await asyncio.shield(self._up)

    async def start(self, report: StreamReport) -> Run:
        """Raises DiedError if the worker dies before it could begin."""
        await self.ready()
        number = next(self._numbers)
        run = self._runs[number] = Run(number, report, self)
        source = msgspec.structs.replace(report.source, hanging=0)
        self.send(Start(number, report.name, report.settings, report.next_seq, report.next_track, source))
        return run

    async def stop(self, run: Run) -> None:
        """End a run, so that its camera is free for another; what is still on its way is nothing any more."""
        if not run.over.is_set():
            self.send(Stop(run.number))
            with suppress(TimeoutError):
                async with asyncio.timeout(_STOP):
                    await run.over.wait()
            if not run.over.is_set():
                _log.warning("%s: its worker does not say that it has stopped", run.report.name)
        self._runs.pop(run.number, None)

    async def shoot(self, stream: str, look: Look) -> Shot:
        """The newest picture of a stream. Raises NoPictureError, WorkerDiedError."""
        answer: asyncio.Future[Shot | None] = asyncio.get_running_loop().create_future()
        number = next(self._numbers)
        self._asked[number] = answer
        try:
            if self._writer is None:
                raise _died("is starting")
            self.send(Ask(number, stream, look))
            async with asyncio.timeout(_SHOW):
                shot = await answer
        except TimeoutError:
            raise NoPictureError(f"the worker shows no picture of {stream!r} in time", "try again later") from None
        finally:
            del self._asked[number]
        if shot is None:
            raise NoPictureError(f"there is no picture of {stream!r} now", "try again in a moment")
        return shot

    async def close(self) -> Farewell | None:
        """End the worker, which puts everything in order first, if it can."""
        self._closing = True
        self.send(Close())
        patience = _CLOSE_VIDEO if self._begin.settings.video.path else _CLOSE
        if self._writer is None or not self._up.done():  # there is nothing to put in order
            patience = 0.0
        await asyncio.wait({self._alive}, timeout=patience)
        self._alive.cancel()  # which kills it
        await asyncio.gather(self._alive, return_exceptions=True)
        return self._farewell

    def send(self, order: Order) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(packed(order))

    async def _keep_alive(self) -> None:
        while True:
            self._began = time.monotonic()
            try:
                how = _words(await self._live())
            except OSError as error:
                how = f"cannot be started: {error}"
            except Exception as error:  # noqa: BLE001  # its streams must not wait for ever
                _log.exception("worker %d cannot be understood", self._number)
                how = f"cannot be understood: {type(error).__name__}: {error}"
            if self._closing:
                return
            self._warm.set()
            why = self._failure or _died(how)
            if not self.failing:
                self._wait = _WAIT_MIN
            if self._number > 1 or self._was_up:  # else whoever started it tells why that is not possible
                self._tell(why)
            self._bury(why)
            await asyncio.sleep(self._wait)
            self._wait = min(max(2 * self._wait, _WAIT_NEXT), _WAIT_MAX)
            self.restarts += 1

    async def _live(self) -> int:
        """One process from its start to its end; its exit code."""
        self._failure, self._silent = None, 0
        ours, theirs = socket.socketpair()
        with ours, theirs:
            process = await asyncio.to_thread(_spawned, theirs)  # nobody waits for the system meanwhile
            reader, writer = await asyncio.open_connection(sock=ours.dup())
        watching = asyncio.create_task(self._watch(process))
        try:
            self._writer, self.pid = writer, process.pid
            if self._number > 1:
                await self._warm.wait()
            self.send(self._begin)
            async with aclosing(unpacked(reader, REPORTS)) as reports:
                async for report in reports:
                    self._silent = 0
                    self._take(report)
            return await asyncio.to_thread(process.wait)
        finally:
            self._writer = self.pid = None
            watching.cancel()
            writer.close()
            process.kill()
            await asyncio.to_thread(process.wait)

    async def _watch(self, process: subprocess.Popen[bytes]) -> None:
        """Kill one that says nothing any more. Seconds are counted, not measured: this process may have slept."""
        await self._warm.wait()  # it is not even asked before
        self._silent = 0
        while self._silent < _SILENT:
            await asyncio.sleep(1)
            self._silent += 1
        self._failure = WorkerDiedError(f"the worker's process said nothing for {_SILENT} s", _HINT)
        process.kill()

    def _take(self, report: Report) -> None:
        if isinstance(report, Result | Changed):
            if report.run in self._runs:
                self._runs[report.run].take(report)
        elif isinstance(report, Over):
            if report.run in self._runs:
                run = self._runs[report.run]
                run.report.source = report.source
                run.finish(revived(report.error))
        elif isinstance(report, Beat):
            self.figures = report.figures
            self._precisions.update(report.precisions)
            for number in self._runs.keys() & report.sources:
                self._runs[number].report.source = report.sources[number]
        elif isinstance(report, Shown):
            answer = self._asked.get(report.number)
            if answer is not None and not answer.done():
                answer.set_result(report.shot)
        else:
            self._hear(report)

    def _hear(self, report: Ready | Failed | Said | Farewell) -> None:
        """What is about the worker itself."""
        if isinstance(report, Said):
            logging.getLogger(report.logger).log(report.level, "%s", report.text)
        elif isinstance(report, Ready):
            self._was_up = True
            self._warm.set()
            self._up.set_result(None)
        elif isinstance(report, Failed):
            self._failure = revived(report.error)
        else:
            self._farewell = report

    def _tell(self, error: StreamerError) -> None:
        """Said once, and once more when it goes on like that."""
        if self._wait == _WAIT_MIN:
            names = ", ".join(sorted(run.report.name for run in self._runs.values())) or "none"
            _log.error("worker %d: %s; it is started anew, and so are its streams: %s", self._number, error, names)
        elif self._wait == _WAIT_NEXT:
            _log.error("worker %d: %s, again; from now on it is started after growing waits", self._number, error)

    def _bury(self, error: StreamerError) -> None:
        """Whoever waits for something from it hears that it is dead; the next one is promised."""
        self._before = {name: value for name, value in self.totals.items() if name.endswith("_total")}
        self.figures = {}
        for run in list(self._runs.values()):
            run.finish(DiedError(error, run))
        self._runs.clear()
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(error)
        up, self._up = self._up, _promise()
        if not up.done():
            up.set_exception(DiedError(error))


def _spawned(gateway: socket.socket) -> subprocess.Popen[bytes]:
    # A session of its own: what is typed at the terminal is for the gateway.
    return subprocess.Popen(_COMMAND, stdin=gateway.fileno(), stdout=2, start_new_session=True)


def _promise() -> "asyncio.Future[None]":
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be waiting for it
    return future


def _words(code: int) -> str:
    """An exit code, as in 'the process ...'."""
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def _died(how: str) -> WorkerDiedError:
    hint = f"{_HINT}; was memory short? the system's log knows" if "SIGKILL" in how else _HINT
    return WorkerDiedError(f"the worker's process {how}", hint)
