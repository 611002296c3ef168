"""The gateway's side: worker processes are started, given streams, and started anew when they die."""

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncGenerator, Callable
from types import TracebackType
from typing import Self

import msgspec

from streamer.config import LogSettings, ServerSettings, Settings
from streamer.errors import OutputError
from streamer.fleet import Item, StreamReport
from streamer.flow import Message, Output
from streamer.media.address import resolve
from streamer.media.source import StateChange
from streamer.outputs.videowriter import VideoFile
from streamer.workers.process import WorkerProcess
from streamer.workers.run import DiedError
from streamer.workers.wire import Begin

_log = logging.getLogger(__name__)
_FILE_TRIES = 3  # workers that may die over a file


class Workforce:
    """So many processes at most; another one is started when a stream comes and all have one already.

    `analyse` is for a `Fleet`, which knows nothing of processes: it gives the results of a stream, as the analysis in
    this process would, with their records encoded already. `outputs` tell how the workers, and what is written there,
    are doing. To be used in an `async with` block, whose end raises OutputError if a video could not be completed.
    """

    def __init__(
        self, settings: Settings, count: int, threads: int, session: str, precisions: dict[str, str] | None = None
    ) -> None:
        """Each worker gets its part of the `threads`. What their models compute with is noted in `precisions`."""
        # Weights are there already; what is served and logged is the gateway's.
        theirs = msgspec.structs.replace(
            settings,
            threads=max(threads // count, 1),
            workers=0,
            streams={},
            server=ServerSettings(),
            log=LogSettings(),
        )
        self._begin = Begin(theirs, session, tuple(settings.streams), logging.getLogger().level)
        self._count = count
        self._precisions = {} if precisions is None else precisions
        self._warm = asyncio.Event()  # the compiled models are in the cache
        self._workers: list[WorkerProcess] = []
        self.videos: list[VideoFile] = []

    @property
    def outputs(self) -> tuple[Output, ...]:
        video = (Figures("video", self._video),) if self._begin.settings.video.path else ()
        return (Figures("workers", self._figures), *video)

    async def begin(self) -> None:
        """Start as many as there are streams, and wait for the first. Raises what keeps it from working, such as
        ModelError.
        """
        first, *_others = [self._hire() for _ in range(min(self._count, max(len(self._begin.streams), 1)))]
        try:
            await first.ready()
        except DiedError as died:
            raise died.error from None

    async def analyse(self, report: StreamReport) -> AsyncGenerator[Item, None]:
        """The results of one stream, going on where it was stopped. When its worker dies the stream is offline until
        that lives again. A file begins anew then, and fails the third time unless it loops.
        """
        worker = self._fewest()
        worker.streams += 1
        deaths = 0
        try:
            while True:
                try:
                    async with await worker.start(report) as run:
                        async for item in run:
                            yield item
                    return
                except DiedError as died:
                    deaths += died.run is not None
                    if deaths == _FILE_TRIES and not report.settings.loop and resolve(report.settings).live is False:
                        raise died.error from None
                    yield StateChange("offline", time.time(), died.error)
        finally:
            worker.streams -= 1

    def _fewest(self) -> WorkerProcess:
        if len(self._workers) < self._count and all(worker.streams for worker in self._workers):
            return self._hire()
        return min(self._workers, key=lambda worker: (worker.failing, worker.streams))

    def _hire(self) -> WorkerProcess:
        worker = WorkerProcess(len(self._workers) + 1, self._begin, self._warm, self._precisions)
        self._workers.append(worker)
        return worker

    def _figures(self) -> dict[str, float]:
        of_all = [worker.figures for worker in self._workers]
        turns = {name: sum(figures.get(name, 0) for figures in of_all) for name in ("turns_held", "turns_waiting")}
        return {
            "alive": sum(worker.pid is not None for worker in self._workers),
            "restarts_total": sum(worker.restarts for worker in self._workers),
            **turns,
        }

    def _video(self) -> dict[str, float]:
        """Counts of workers that have died are kept by them."""
        totals: dict[str, float] = {}
        for name, value in itertools.chain.from_iterable(worker.totals.items() for worker in self._workers):
            if name.startswith("video_"):
                key = name.removeprefix("video_")
                totals[key] = max(totals.get(key, 0), value) if key == "paused" else totals.get(key, 0) + value
        return totals

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        farewells = await asyncio.gather(*(worker.close() for worker in self._workers))
        self.videos = [video for farewell in farewells if farewell for video in farewell.videos]
        failures = [farewell.error for farewell in farewells if farewell and farewell.error]
        if failures and error is None:
            raise OutputError(failures[0].message, failures[0].hint)


class Figures:
    """The metrics of something that is written elsewhere."""

    def __init__(self, name: str, figures: Callable[[], dict[str, float]]) -> None:
        self.name = name
        self.figures = figures

    async def put(self, message: Message) -> None:
        """It is there already."""
