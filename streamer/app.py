"""The whole program at work: owns every task, from the sources to the servers."""

import asyncio
import logging
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import cv2
import msgspec

from streamer import __version__
from streamer.access import Access, tls_context
from streamer.analyst import DEMO, PORTRAIT, Analyst
from streamer.config import Settings
from streamer.contract import SCHEMA_VERSION, HelloRecord, encode
from streamer.fleet import Analyse, Fleet, StreamReport
from streamer.flow import Hub, Output
from streamer.inference.models import Workshop
from streamer.inference.store import Progress, silent
from streamer.memory import kept_compact
from streamer.outputs.journal import Journal
from streamer.outputs.video import VideoRecorder
from streamer.outputs.videofiles import check_path
from streamer.outputs.videokeep import old_videos_removed
from streamer.outputs.videowriter import VideoFile
from streamer.serving import Addresses, import_servers, serving
from streamer.workers.sizing import how_many
from streamer.workers.workforce import Workforce

_log = logging.getLogger(__name__)


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
        self._workforce: Workforce | None = None

    @property
    def reports(self) -> dict[str, StreamReport]:
        return self._fleet.reports if self._fleet else {}

    @property
    def videos(self) -> list[VideoFile]:
        """Those that were written, once the run is over."""
        if self._workforce:
            return self._workforce.videos
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
            await asyncio.to_thread(self._fetch, workshop)
            keepers = await stack.enter_async_context(self._journal())
            await stack.enter_async_context(old_videos_removed(self._settings.video))
            importing = asyncio.get_running_loop().run_in_executor(None, import_servers, self._settings.server)
            analyse, more = await stack.enter_async_context(self._analysis(workshop))
            await importing
            hub = Hub(self._session, (*self._outputs, *keepers, *more))
            self._fleet = Fleet(hub, analyse, on_state, raw=self._settings.raw)
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

    def _fetch(self, workshop: Workshop) -> None:
        """Whatever is needed is on this machine from now on: not in the middle of somebody's first request."""
        if any(stream.url == DEMO for stream in self._settings.streams.values()):
            workshop.picture(PORTRAIT)
        if self._settings.server.enabled:
            workshop.fetch(self._settings.image_pipeline)
        workshop.fetch(self._settings.pipeline)

    @asynccontextmanager
    async def _journal(self) -> AsyncGenerator[tuple[Output, ...], None]:
        """The log, complete when the block is left."""
        if not self._settings.log.path:
            yield ()
            return
        journal = Journal(self._settings.log, self._session)
        try:
            yield (journal,)
        finally:
            await journal.close()

    @asynccontextmanager
    async def _analysis(self, workshop: Workshop) -> AsyncGenerator[tuple[Analyse, tuple[Output, ...]], None]:
        """What streams are analysed by, here or in workers, and the outputs that go with it."""
        settings, threads = self._settings, workshop.engine.threads
        count = how_many(settings, threads)
        if count:
            precisions = workshop.engine.precisions
            async with Workforce(settings, count, threads, self._session, precisions) as self._workforce:
                await self._workforce.begin()
                yield self._workforce.analyse, self._workforce.outputs
            return
        models = await asyncio.to_thread(workshop.models, settings.pipeline)
        analyse = Analyst(settings, workshop, models).analyse
        if not settings.video.path:
            yield analyse, ()
            return
        self._video = VideoRecorder(settings.video, settings.streams, self._session)
        try:
            yield analyse, (self._video,)
        finally:
            await self._video.close()

    def _hello(self) -> bytes:
        states = {name: report.state for name, report in self.reports.items()}
        return encode(HelloRecord(SCHEMA_VERSION, f"facestreamer {__version__}", self._session, list(states), states))
