"""What a person sees in the terminal: progress bars, one live line a stream, messages, errors."""

import asyncio
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from streamer.errors import StreamerError, redact

if TYPE_CHECKING:
    from streamer.app import App
    from streamer.fleet import StreamReport
    from streamer.outputs.videowriter import VideoFile
    from streamer.serving import Addresses

T = TypeVar("T")
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


class Reporter:
    """Progress bars for models that are fetched and converted; on a pipe, a line for each instead."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), DownloadColumn(), console=err, transient=True
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish()

    def __call__(self, name: str, doing: str, done: int, total: int) -> None:
        if name not in self._tasks:
            if not self._tasks:
                err.print("Fetching model weights that are not on this machine yet (once only).")
                if err.is_terminal:
                    self._progress.start()
            self._tasks[name] = self._progress.add_task(name, total=None)
            if not err.is_terminal:
                err.print(f"  {name} ...", markup=False)
        self._progress.update(self._tasks[name], description=f"{name}: {doing}", completed=done, total=total or None)

    def finish(self) -> None:
        """Take the bars away."""
        if self._tasks and err.is_terminal:
            self._progress.stop()


class StreamLines:
    """One line a stream, refreshed each second on a terminal; elsewhere a line for each change of state."""

    def __init__(self, reporter: Reporter, app: "App") -> None:
        self._reporter = reporter
        self._app = app
        self._live = Live(console=out, get_renderable=self._table, refresh_per_second=1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def ready(self, addresses: "Addresses") -> None:
        """Everything is loaded and served: say where."""
        self._reporter.finish()
        if addresses.page:
            out.print(f"page       {addresses.page}\nwebsocket  {addresses.websocket}", soft_wrap=True)
        if out.is_terminal:
            self._live.start()

    def changed(self, report: "StreamReport") -> None:
        """A stream has another state."""
        if report.error is not None and not report.paused:
            complain(report.error, report.name)
        elif not out.is_terminal:
            total = f", frames analysed: {report.processed}" if report.state == "ended" else ""
            out.print(f"{report.name}: {_state(report)}{total}", markup=False)

    def _table(self) -> Table:
        now = time.monotonic()
        table = Table("stream", "state", "fps", "faces", "age", "frames", "dropped", box=None, pad_edge=False)
        for report in self._app.reports.values():
            table.add_row(
                escape(report.name),
                _state(report),
                f"{report.analysed.at(now):.1f} of {report.delivered.at(now):.1f}",
                str(report.faces),
                f"{report.age * 1000:.0f} ms",
                str(report.processed),
                str(report.skipped.total()),
            )
        return table


_STEP = 0.1  # of a clip, from one line about its progress to the next
_LOOK = 0.25  # seconds between two looks at it


class ClipProgress:
    """A bar with the time that is left, for a run on a file of `total` pictures (0: unknown); on a pipe, a line for
    each tenth.
    """

    def __init__(self, reporter: Reporter, app: "App", total: int) -> None:
        self._reporter = reporter
        self._app = app
        self._total = total
        speed = TextColumn("{task.fields[speed]}")
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), speed, TimeRemainingColumn())
        self._progress = Progress(*columns, console=err, transient=True)
        self._told = 0
        self._began = 0.0

    async def shown(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, watched meanwhile."""
        watching = asyncio.create_task(self._watch())
        try:
            return await work
        finally:
            watching.cancel()
            self._progress.stop()

    def ready(self, _addresses: "Addresses") -> None:
        """Everything is loaded, and analysis begins."""
        self._reporter.finish()
        self._began = time.monotonic()

    async def _watch(self) -> None:
        task: TaskID | None = None
        while True:
            await asyncio.sleep(_LOOK)
            done = sum(report.next_seq for report in self._app.reports.values())
            if not done:
                continue
            rate = done / max(time.monotonic() - self._began, _LOOK)
            if not err.is_terminal:
                self._tell(done, rate)
                continue
            if task is None:
                task = self._progress.add_task("annotating", total=self._total or None, speed="")
                self._progress.start()
            self._progress.update(task, completed=done, speed=f"{rate:.0f} fps")

    def _tell(self, done: int, rate: float) -> None:
        tenths = int(min(done / self._total, 1) / _STEP) if self._total else 0
        if tenths > self._told:
            self._told = tenths
            left = max(self._total - done, 0) / rate
            err.print(f"{done} of {self._total} pictures, {rate:.0f} fps, {left:.0f} s left")


def told(video: "VideoFile") -> str:
    """A video that was written, in words."""
    return f"{video.pictures} pictures, {video.seconds:.1f} s, {video.path.stat().st_size / 1e6:.1f} MB"


def _state(report: "StreamReport") -> str:
    return "paused" if report.paused else report.state


def complain(error: StreamerError, about: str = "") -> None:
    """An error for a person: what happened, and what to do."""
    prefix = f"{about}: " if about else ""
    err.print(f"[bold red]error:[/] {escape(prefix + error.message)} [dim]\\[{error.code}][/]", soft_wrap=True)
    if error.hint:
        err.print(f"       [dim]{escape(error.hint)}[/]", soft_wrap=True)


def configure_logging(verbose: bool) -> None:
    """Log to stderr, without secrets."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Redacting("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, handlers=[handler], force=True)
    # Every browser that closes its page at the wrong moment would fill the log with tracebacks.
    logging.getLogger("websockets").setLevel(logging.CRITICAL)


class _Redacting(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def interruptible(work: Coroutine[Any, Any, T], on_hangup: Callable[[], Awaitable[None]] | None = None) -> T | bool:
    """The result of `work`; True if Ctrl-C or SIGTERM ended it, after it has put everything in order.

    On SIGHUP `on_hangup` is done meanwhile, if there is one; the end of a terminal ends the work, too.
    """

    async def watched() -> T | bool:
        task = asyncio.ensure_future(work)
        loop, stopping, begun = asyncio.get_running_loop(), asyncio.Event(), set[asyncio.Future[None]]()
        on_terminal = os.isatty(0)

        def stop() -> None:
            if not stopping.is_set():  # a second signal must not cancel the putting in order
                stopping.set()
                task.cancel()

        def hangup() -> None:
            if on_hangup is None or (on_terminal and not os.isatty(0)):
                stop()
            else:
                begun.add(task := asyncio.ensure_future(on_hangup()))
                task.add_done_callback(begun.discard)

        try:
            loop.add_signal_handler(signal.SIGINT, stop)
            loop.add_signal_handler(signal.SIGTERM, stop)
            if on_hangup is not None or signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
                loop.add_signal_handler(signal.SIGHUP, hangup)
        except NotImplementedError:  # Windows: asyncio.run itself turns Ctrl-C into a cancellation
            pass
        try:
            return await task
        except asyncio.CancelledError:
            return True

    return asyncio.run(watched())
