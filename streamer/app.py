"""The whole program at work: owns every task, from the sources to the servers."""

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from pathlib import Path

import msgspec

from streamer import __version__
from streamer.config import LogSettings, Settings
from streamer.contract import SCHEMA_VERSION, HelloRecord, State, encode, frame_record, status_record
from streamer.errors import OutputError, StreamerError
from streamer.face import Frame, FrameResult
from streamer.flow import Hub, Message, Output
from streamer.inference.models import Models, Workshop
from streamer.inference.store import Progress, silent
from streamer.media.source import StateChange, keep_open
from streamer.outputs.journal import Journal
from streamer.outputs.push import push_server
from streamer.pipeline import analyse_stream
from streamer.web.server import FaceServer, http_server

_log = logging.getLogger(__name__)
DEMO, PORTRAIT = "demo", "portrait"  # the source, and the card of its picture


class StreamReport(msgspec.Struct):
    """How a stream is doing; changes while it runs. `age` is the newest result's, in seconds."""

    name: str
    state: State = "connecting"
    error: StreamerError | None = None
    processed: int = 0
    skipped: int = 0
    faces: int = 0
    age: float = 0.0

    @property
    def failed(self) -> bool:
        """Whether it has ended with an error."""
        return self.state == "ended" and self.error is not None

    def count(self, result: FrameResult) -> None:
        if result.frame.skipped:
            self.skipped += 1
        else:
            self.processed += 1
            self.faces = len(result.faces)
            self.age = result.published - result.frame.arrived


class Addresses(msgspec.Struct, frozen=True):
    """Where page and websocket are served; empty where they are not."""

    page: str = ""
    websocket: str = ""


class App:
    """One run. `reports` can be looked at while it goes on."""

    def __init__(self, settings: Settings, progress: Progress = silent) -> None:
        self._settings = settings
        self._progress = progress
        self._session = uuid.uuid4().hex[:12]
        self.reports = {name: StreamReport(name) for name in settings.streams}

    async def run(
        self,
        duration: float | None = None,
        on_ready: Callable[[Addresses], None] = lambda _: None,
        on_state: Callable[[StreamReport], None] = lambda _: None,
    ) -> bool:
        """Until all sources have ended, or for `duration` seconds, or until cancelled; the log is complete then.

        True if every stream delivered and none ended with an error. Raises StreamerError if it cannot start or go on.
        """
        async with AsyncExitStack() as stack:
            workshop = await asyncio.to_thread(Workshop, self._settings, self._progress)
            stack.callback(workshop.close)
            models, portrait = await asyncio.to_thread(self._fetch, workshop)
            hub = Hub(await stack.enter_async_context(_keepers(self._settings.log)))
            on_ready(await self._serve(stack, hub, workshop))
            with suppress(TimeoutError):
                async with asyncio.timeout(duration):
                    await self._run_streams(models, portrait, hub, on_state)
        return all(report.processed and not report.failed for report in self.reports.values())

    def _fetch(self, workshop: Workshop) -> tuple[Models, Path | None]:
        demo = any(stream.url == DEMO for stream in self._settings.streams.values())
        if self._settings.server.enabled:
            workshop.fetch(self._settings.image_pipeline)  # not in the middle of somebody's first request
        return workshop.models(self._settings.pipeline), workshop.picture(PORTRAIT) if demo else None

    async def _serve(self, stack: AsyncExitStack, hub: Hub, workshop: Workshop) -> Addresses:
        server = self._settings.server
        if not server.enabled:
            return Addresses()
        ws_port = await stack.enter_async_context(push_server(hub, server, self._hello))
        info = {
            "version": __version__,
            "session": self._session,
            "websocket": {"port": ws_port},
            "preview": "/api/preview",
        }
        faces = FaceServer(hub, workshop, self._settings.image_pipeline, info, server.origins)
        http_port = await stack.enter_async_context(http_server(faces, server))
        host = f"[{server.host}]" if ":" in server.host else server.host
        return Addresses(f"http://{host}:{http_port}/", f"ws://{host}:{ws_port}/")

    def _hello(self) -> bytes:
        return encode(HelloRecord(SCHEMA_VERSION, f"facestreamer {__version__}", self._session, list(self.reports)))

    async def _run_streams(
        self, models: Models, portrait: Path | None, hub: Hub, on_state: Callable[[StreamReport], None]
    ) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for name, stream in self._settings.streams.items():
                    source = keep_open(stream, portrait)
                    group.create_task(self._stream(self.reports[name], source, models, hub, on_state), name=name)
        except* StreamerError as failed:
            raise failed.exceptions[0] from None

    async def _stream(
        self,
        report: StreamReport,
        source: AsyncIterable[Frame | StateChange],
        models: Models,
        hub: Hub,
        on_state: Callable[[StreamReport], None],
    ) -> None:
        """Analyse one stream to its end; what fails in it ends only it."""
        try:
            async with aclosing(analyse_stream(source, models, self._settings.raw)) as items:
                async for item in items:
                    await hub.publish(self._message(report, item))
                    if isinstance(item, StateChange):
                        on_state(report)
        except OutputError:
            raise
        except StreamerError as error:
            await hub.publish(self._message(report, StateChange("ended", time.time(), error)))
            on_state(report)
        except Exception as error:  # noqa: BLE001  # said, logged, and no harm to the other streams
            _log.exception("stream %s failed", report.name)
            failure = StreamerError(f"the analysis failed: {type(error).__name__}: {error}", "please report this")
            await hub.publish(self._message(report, StateChange("ended", time.time(), failure)))
            on_state(report)
        except asyncio.CancelledError:
            # The log tells a run that was stopped from one that was killed.
            if report.state != "ended":
                await hub.publish(self._message(report, StateChange("ended", time.time())))
                on_state(report)
            raise

    def _message(self, report: StreamReport, item: FrameResult | StateChange) -> Message:
        if isinstance(item, StateChange):
            report.state, report.error = item.state, item.error
            record = status_record(report.name, self._session, item.at, item.state, item.error)
            return Message(report.name, encode(record))
        report.count(item)
        return Message(report.name, encode(frame_record(item, report.name, self._session)), item)


@asynccontextmanager
async def _keepers(log: LogSettings) -> AsyncGenerator[tuple[Output, ...], None]:
    """The outputs that must lose nothing; complete when the block is left."""
    if not log.path:
        yield ()
        return
    journal = Journal(log.file())
    try:
        yield (journal,)
    finally:
        await journal.close()
