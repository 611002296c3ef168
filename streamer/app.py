"""The whole program at work: owns every task, from the sources to the servers."""

import asyncio
import logging
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from functools import partial

import cv2
import msgspec

from streamer import __version__
from streamer.access import Access, tls_context
from streamer.config import Settings
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
from streamer.outputs.journal import Journal
from streamer.outputs.video import VideoRecorder
from streamer.outputs.videofiles import check_path
from streamer.outputs.videowriter import VideoFile
from streamer.pipeline import analyse_stream
from streamer.serving import Addresses, import_servers, serving
from streamer.turns import Share

_log = logging.getLogger(__name__)
_LATE = 0.6  # of the age that a result may have: decoders give way before that is reached
DEMO, PORTRAIT = "demo", "portrait"  # the source, and the card of its picture


class App:
    """One run. `reports` can be looked at while it goes on."""

    def __init__(self, settings: Settings, progress: Progress = silent, outputs: tuple[Output, ...] = ()) -> None:
        """`outputs` get every record, before the log does."""
        self._settings = settings
        self._progress = progress
        self._outputs = outputs
        self._session = uuid.uuid4().hex[:12]
        self._fleet: Fleet | None = None
        self._video: VideoRecorder | None = None

    @property
    def reports(self) -> dict[str, StreamReport]:
        return self._fleet.reports if self._fleet else {}

    @property
    def videos(self) -> list[VideoFile]:
        """Those that were written, once the run is over."""
        return self._video.report.files if self._video else []

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
        if self._settings.video.path:
            check_path(self._settings.video, self._settings.streams, self._settings.privacy)
        cv2.setNumThreads(1)  # pictures are worked on side by side: OpenCV's own threads only wait for each other
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(kept_compact())
            workshop = await asyncio.to_thread(Workshop, self._settings, self._progress)
            stack.callback(workshop.close)
            models, _ = await asyncio.gather(
                asyncio.to_thread(self._fetch, workshop),
                asyncio.to_thread(import_servers, self._settings.server),
            )
            self._decoding = DecodingBudget(workshop.engine.threads)
            keepers = await stack.enter_async_context(self._keepers())
            hub = Hub(self._session, (*self._outputs, *keepers))
            self._fleet = Fleet(hub, partial(self._analyse, workshop, models), on_state, raw=self._settings.raw)
            on_ready(await stack.enter_async_context(serving(self._settings, hub, workshop, self._fleet, self._hello)))
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
        if self._settings.privacy.blur or self._settings.video.blur:  # who comes between two searches would be shown
            stream = msgspec.structs.replace(stream, interval_max=stream.interval)
        raw = not self._settings.privacy.coordinates_only
        async with aclosing(analyse_stream(stream, source, models, raw, report.next_track)) as items:
            async for item in items:
                if isinstance(item, FrameResult) and item.frame.live and item.took > _LATE * stream.max_age:
                    self._decoding.late()
                    workshop.engine.turns.late()
                yield veil.over(item) if isinstance(item, FrameResult) else item

    @asynccontextmanager
    async def _keepers(self) -> AsyncGenerator[tuple[Output, ...], None]:
        """The outputs that must lose nothing; complete when the block is left."""
        settings, keepers = self._settings, list[Output]()
        async with AsyncExitStack() as stack:
            if settings.log.path:
                journal = Journal(settings.log, self._session)
                stack.push_async_callback(journal.close)
                keepers.append(journal)
            if settings.video.path:
                self._video = VideoRecorder(settings.video, settings.streams, self._session)
                stack.push_async_callback(self._video.close)
                keepers.append(self._video)
            yield tuple(keepers)

    def _hello(self) -> bytes:
        states = {name: report.state for name, report in self.reports.items()}
        return encode(HelloRecord(SCHEMA_VERSION, f"facestreamer {__version__}", self._session, list(states), states))
