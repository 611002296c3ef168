"""The whole program at work: owns every task, from the sources to the servers."""

import asyncio
import logging
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from functools import partial

import msgspec

from streamer import __version__
from streamer.access import Access, tls_context
from streamer.config import LogSettings, Settings
from streamer.contract import SCHEMA_VERSION, HelloRecord, encode
from streamer.face import Frame, FrameResult
from streamer.fleet import Fleet, StreamReport
from streamer.flow import Hub, Output
from streamer.inference.models import Models, Workshop
from streamer.inference.store import Progress, silent
from streamer.media.budget import DecodingBudget
from streamer.media.opening import Host
from streamer.media.source import StateChange, keep_open
from streamer.media.veil import Veil
from streamer.memory import kept_compact
from streamer.outputs.fanout import Fanout
from streamer.outputs.journal import Journal
from streamer.outputs.push import push_server
from streamer.pipeline import analyse_stream
from streamer.turns import Share
from streamer.web.server import FaceServer, http_server

_log = logging.getLogger(__name__)
_LATE = 0.6  # of the age that a result may have: decoders give way before that is reached
DEMO, PORTRAIT = "demo", "portrait"  # the source, and the card of its picture


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
        self._fleet: Fleet | None = None

    @property
    def reports(self) -> dict[str, StreamReport]:
        return self._fleet.reports if self._fleet else {}

    async def run(
        self,
        duration: float | None = None,
        on_ready: Callable[[Addresses], None] = lambda _: None,
        on_state: Callable[[StreamReport], None] = lambda _: None,
    ) -> bool:
        """Until all sources have ended, or for `duration` seconds, or until cancelled; the log is complete then.

        True if every stream delivered and none ended with an error. Raises StreamerError if it cannot start or go on.
        """
        if self._settings.server.enabled:  # what must not be served is said before anything is loaded
            Access(self._settings.server)
            tls_context(self._settings.server)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(kept_compact())
            workshop = await asyncio.to_thread(Workshop, self._settings, self._progress)
            stack.callback(workshop.close)
            models = await asyncio.to_thread(self._fetch, workshop)
            self._decoding = DecodingBudget(workshop.engine.threads)
            hub = Hub(self._session, await stack.enter_async_context(_keepers(self._settings.log, self._session)))
            self._fleet = Fleet(hub, partial(self._analyse, workshop, models), on_state, raw=self._settings.raw)
            on_ready(await self._serve(stack, hub, workshop, self._fleet))
            with suppress(TimeoutError):
                async with asyncio.timeout(duration):
                    await self._fleet.run(self._settings.streams)
        return all(report.processed and not report.failed for report in self.reports.values())

    async def reload(self, settings: Settings) -> None:
        """Go on with the streams of other settings. What else differs waits for the next start, and is said so."""
        if msgspec.structs.replace(settings, streams=self._settings.streams) != self._settings:
            _log.warning("only changes of streams are taken over while running: the others need a new start")
        self._settings = msgspec.structs.replace(self._settings, streams=settings.streams)
        if self._fleet is not None and self._fleet.running:  # else they are what the run will begin with
            await self._fleet.apply(settings.streams)

    def _fetch(self, workshop: Workshop) -> Models:
        if any(stream.url == DEMO for stream in self._settings.streams.values()):
            workshop.picture(PORTRAIT)
        if self._settings.server.enabled:
            workshop.fetch(self._settings.image_pipeline)  # not in the middle of somebody's first request
        return workshop.models(self._settings.pipeline)

    async def _analyse(
        self, workshop: Workshop, models: Models, report: StreamReport
    ) -> AsyncGenerator[FrameResult | StateChange, None]:
        """The results of one stream, going on where it was stopped."""
        stream = report.settings
        portrait = await asyncio.to_thread(workshop.picture, PORTRAIT) if stream.url == DEMO else None
        host = Host(workshop.engine.threads, self._decoding, portrait)

        def source(share: Share) -> AsyncGenerator[Frame | StateChange, None]:
            return keep_open(stream, share, host, report.source, report.next_seq)

        veil = Veil(stream, self._settings.privacy)
        raw = not self._settings.privacy.coordinates_only
        async with aclosing(analyse_stream(stream, source, models, raw, report.next_track)) as items:
            async for item in items:
                if isinstance(item, FrameResult) and item.frame.live and item.took > _LATE * stream.max_age:
                    self._decoding.late()
                    workshop.engine.turns.late()
                yield veil.over(item) if isinstance(item, FrameResult) else item

    async def _serve(self, stack: AsyncExitStack, hub: Hub, workshop: Workshop, fleet: Fleet) -> Addresses:
        server = self._settings.server
        if not server.enabled:
            return Addresses()
        fanout = Fanout(hub)
        ws_port = await stack.enter_async_context(push_server(hub, server, self._hello, fanout))
        info = {
            "version": __version__,
            "session": self._session,
            "websocket": {"port": ws_port},
            "preview": "/api/preview",
        }
        faces = FaceServer(self._settings, hub, fleet, fanout, workshop, info)
        http_port = await stack.enter_async_context(http_server(faces, server))
        host = f"[{server.host}]" if ":" in server.host else server.host
        secure = "s" if server.certificate else ""
        return Addresses(f"http{secure}://{host}:{http_port}/", f"ws{secure}://{host}:{ws_port}/")

    def _hello(self) -> bytes:
        states = {name: report.state for name, report in self.reports.items()}
        return encode(HelloRecord(SCHEMA_VERSION, f"facestreamer {__version__}", self._session, list(states), states))


@asynccontextmanager
async def _keepers(log: LogSettings, session: str) -> AsyncGenerator[tuple[Output, ...], None]:
    """The outputs that must lose nothing; complete when the block is left."""
    if not log.path:
        yield ()
        return
    journal = Journal(log, session)
    try:
        yield (journal,)
    finally:
        await journal.close()
