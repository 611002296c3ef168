"""A process that analyses streams for the gateway which started it: `python -m streamer.workers.worker`, with the
socket to it as standard input.

It heeds none of the signals that can be ignored: its gateway tells it when to end. When that dies, so does it.
"""

import asyncio
import logging
import os
import select
import signal
import socket
import threading
import time
from asyncio import StreamWriter
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress

import cv2
import msgspec

from streamer.analyst import Analyst
from streamer.contract import encode
from streamer.errors import OutputError, StreamerError
from streamer.face import Detections, FrameResult, no_pixels
from streamer.fleet import Analyse, StreamReport, analysis_failed
from streamer.flow import Message, Output, frame_message
from streamer.inference.models import Workshop
from streamer.inference.runtime import Engine
from streamer.media.shots import render
from streamer.media.source import StateChange
from streamer.memory import kept_compact
from streamer.outputs.video import VideoRecorder
from streamer.records import error_object, frame_record, status_record
from streamer.workers.wire import (
    ORDERS,
    WINDOW,
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
    Taken,
    packed,
    told,
    unpacked,
)

_log = logging.getLogger(__name__)
_BEAT = 0.5  # seconds
_LAST_MOMENT = 1.0  # seconds for putting things in order after the gateway has died
_KEPT = 8  # streams that have been stopped whose newest pictures are kept
_NOTHING = Detections.none()
Send = Callable[[Report], None]


class _Run:
    """One stream that is analysed."""

    def __init__(self, report: StreamReport) -> None:
        self.report = report
        self.room = asyncio.Semaphore(WINDOW)
        self.task: asyncio.Task[None] | None = None


class Worker:
    """Does what it is told, and tells what comes of it."""

    def __init__(self, begin: Begin, send: Send, analyse: Analyse, engine: Engine, keepers: tuple[Output, ...]) -> None:
        self._begin = begin
        self._send = send
        self._analyse = analyse
        self._engine = engine
        self._keepers = keepers
        self._runs: dict[int, _Run] = {}
        self._newest: dict[str, FrameResult] = {}
        self._stopped: list[str] = []
        self._asked: set[asyncio.Task[None]] = set()

    async def obey(self, orders: AsyncIterator[Order]) -> None:
        """Until it is told to close, or nobody is there any more; nothing runs then."""
        async with _beating(self._send, self._beat):
            async for order in orders:
                if isinstance(order, Close):
                    break
                self._do(order)
            tasks = [*self._asked, *(run.task for run in self._runs.values() if run.task)]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _do(self, order: Order) -> None:
        if isinstance(order, Start):
            report = StreamReport(order.name)
            report.settings, report.source = order.settings, order.source
            report.next_seq, report.next_track = order.next_seq, order.next_track
            run = self._runs[order.run] = _Run(report)
            run.task = asyncio.create_task(self._run(order.run, run), name=order.name)
        elif isinstance(order, Ask):
            task = asyncio.create_task(self._show(order))
            self._asked.add(task)
            task.add_done_callback(self._asked.discard)
        elif isinstance(order, Stop | Taken) and order.run in self._runs:  # else it is over already
            run = self._runs[order.run]
            if isinstance(order, Taken):
                for _ in range(order.count):
                    run.room.release()
            elif run.task is not None:  # not before it has begun, or it would not say that it is over
                asyncio.get_running_loop().call_soon(run.task.cancel)

    async def _run(self, number: int, run: _Run) -> None:
        failure: StreamerError | None = None
        try:
            async with aclosing(self._analyse(run.report)) as items:
                async for item in items:
                    await run.room.acquire()
                    await self._tell(number, run.report, item)
        except StreamerError as error:
            failure = error
        except Exception as error:  # noqa: BLE001  # said, logged, and no harm to the other streams
            _log.exception("stream %s failed", run.report.name)
            failure = analysis_failed(error)
        finally:
            del self._runs[number]
            await self._end(run.report.name)
            self._send(Over(number, told(failure), run.report.source))

    async def _tell(self, number: int, report: StreamReport, item: FrameResult | Message | StateChange) -> None:
        assert not isinstance(item, Message), "what is analysed here has no records yet"
        if isinstance(item, StateChange):
            self._send(Changed(number, item.state, item.at, told(item.error), report.source))
            return
        record = frame_record(item, report.name, self._begin.session, raw=self._begin.settings.raw)
        message = frame_message(report.name, encode(record), item)
        frame = msgspec.structs.replace(item.frame, pixels=no_pixels)
        self._send(Result(number, message.data, msgspec.structs.replace(item, frame=frame, found=_NOTHING)))
        if not message.passed_over:
            self._newest[report.name] = item
        for keeper in self._keepers:
            await keeper.put(message)

    async def _end(self, name: str) -> None:
        """Outputs hear that the stream has ended, and complete their files. Here nobody knows whether it goes on."""
        status = status_record(name, self._begin.session, time.time(), "ended")
        for keeper in self._keepers:
            await keeper.put(Message(name, encode(status)))
        self._stopped = [*(other for other in self._stopped if other != name), name]
        running = {run.report.name for run in self._runs.values()}
        for forgotten in self._stopped[:-_KEPT]:
            if forgotten not in running:
                self._newest.pop(forgotten, None)
        del self._stopped[:-_KEPT]

    async def _show(self, ask: Ask) -> None:
        shot, result = None, self._newest.get(ask.stream)
        try:
            if result is not None:
                shot = await self._engine.offload(render, result, ask.look)
        except Exception:  # noqa: BLE001  # whoever asked is told that there is none
            _log.exception("a picture of %s cannot be shown", ask.stream)
        self._send(Shown(ask.number, shot))

    def _beat(self) -> Beat:
        turns = self._engine.turns
        figures = {"turns_held": float(turns.held), "turns_waiting": float(turns.waiting)}
        for keeper in self._keepers:
            figures |= {f"{keeper.name}_{name}": value for name, value in keeper.figures().items()}
        sources = {number: run.report.source for number, run in self._runs.items()}
        return Beat(sources, figures, self._engine.precisions)


@asynccontextmanager
async def _beating(send: Send, beat: Callable[[], Beat]) -> AsyncGenerator[None, None]:
    """Signs of life for as long as the block lasts."""

    async def give() -> None:
        while True:
            send(beat())
            await asyncio.sleep(_BEAT)

    giving = asyncio.create_task(give())
    try:
        yield
    finally:
        giving.cancel()
        await asyncio.gather(giving, return_exceptions=True)


async def serve(begin: Begin, orders: AsyncIterator[Order], send: Send) -> None:
    """The whole life of a worker. The last message tells how it ended."""
    settings = begin.settings
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(kept_compact())
        recorder: VideoRecorder | None = None
        try:
            async with _beating(send, lambda: Beat({}, {}, {})):
                workshop = await asyncio.to_thread(Workshop, settings)
                stack.callback(workshop.close)
                models = await asyncio.to_thread(workshop.models, settings.pipeline)
            if settings.video.path:
                recorder = VideoRecorder(settings.video, begin.streams, begin.session)
        except StreamerError as error:
            send(Failed(error_object(error)))
            return
        send(Ready())
        analyse = Analyst(settings, workshop, models).analyse
        await Worker(begin, send, analyse, workshop.engine, (recorder,) if recorder else ()).obey(orders)
        failure: OutputError | None = None
        try:
            if recorder is not None:
                await recorder.close()
        except OutputError as error:
            failure = error
        send(Farewell(recorder.report.files if recorder else [], told(failure)))


class _Forwarded(logging.Handler):
    """What is logged here is logged by the gateway."""

    def __init__(self, send: Send) -> None:
        super().__init__()
        self._send = send
        self._loop = asyncio.get_running_loop()

    def emit(self, record: logging.LogRecord) -> None:
        said = Said(record.name, record.levelno, self.format(record))
        with suppress(RuntimeError):  # a thread that has something to say after the end
            self._loop.call_soon_threadsafe(self._send, said)


async def _main(gateway: socket.socket) -> None:
    reader, writer = await asyncio.open_connection(sock=gateway)
    async with aclosing(unpacked(reader, ORDERS)) as orders:
        begin = await anext(orders, None)
        if not isinstance(begin, Begin):
            return

        def send(report: Report) -> None:
            _write(writer, report)

        logging.basicConfig(level=begin.log_level, handlers=[_Forwarded(send)], format="%(message)s", force=True)
        await serve(begin, orders, send)
    with suppress(ConnectionError):
        await asyncio.sleep(0)  # for what was said in the end
        writer.close()
        await writer.wait_closed()


def _write(writer: StreamWriter, report: Report) -> None:
    """Waits for nothing: `WINDOW` bounds what can pile up here."""
    if not writer.is_closing():
        writer.write(packed(report))


def _end_with(gateway: socket.socket) -> None:
    """In a thread, for when the rest is stuck: nothing is left of a worker once its gateway is dead."""
    watching = select.poll()
    watching.register(gateway.fileno(), 0)  # hanging up is told in any case
    watching.poll()
    time.sleep(_LAST_MOMENT)
    os._exit(1)


def main() -> None:
    """Entry point of the process."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    cv2.setNumThreads(1)  # as in one process
    gateway = socket.socket(fileno=0)
    threading.Thread(target=_end_with, args=(gateway,), daemon=True).start()
    asyncio.run(_main(gateway))
    os._exit(0)  # everything is in order: threads that hang in a driver need not be waited for


if __name__ == "__main__":
    main()
