"""One stream that a worker analyses, seen from the gateway."""

import asyncio
from collections import deque
from functools import partial
from types import TracebackType
from typing import Protocol, Self

from streamer.errors import StreamerError
from streamer.face import Look, Shot
from streamer.fleet import Item, StreamReport
from streamer.flow import frame_message
from streamer.media.source import StateChange
from streamer.workers.wire import WINDOW, Changed, Order, Result, Taken, revived

_TOGETHER = WINDOW // 4  # results that are confirmed at once


class Host(Protocol):
    """The worker."""

    def send(self, order: Order) -> None: ...

    async def stop(self, run: "Run") -> None: ...

    async def shoot(self, stream: str, look: Look) -> Shot: ...


class DiedError(Exception):
    """A worker has died, for this reason; `run` is the one that it takes with it, if it had begun."""

    def __init__(self, error: StreamerError, run: "Run | None" = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.run = run


class Run:
    """A stream that a worker analyses: gives what comes of it, in order. To be used in an `async with` block."""

    def __init__(self, number: int, report: StreamReport, worker: Host) -> None:
        self.number = number
        self.report = report
        self._worker = worker
        self._shoot = partial(worker.shoot, report.name)
        self._items: deque[Item] = deque()
        self._given = 0  # of those that are not confirmed yet
        self._news = asyncio.Event()
        self._end: Exception | None = None
        self.over = asyncio.Event()

    def take(self, report: Result | Changed) -> None:
        if isinstance(report, Result):
            self._items.append(frame_message(self.report.name, report.data, report.result, self._shoot))
        else:
            self.report.source = report.source
            self._items.append(StateChange(report.state, report.at, revived(report.error)))
        self._news.set()

    def finish(self, end: Exception | None) -> None:
        """Nothing more comes; who has taken all that there is gets the end."""
        if not self.over.is_set():
            self._end = end
            self.over.set()
            self._news.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        """Raises StreamerError if the stream has failed, and DiedError."""
        if self._given >= _TOGETHER:
            self._worker.send(Taken(self.number, self._given))
            self._given = 0
        while not self._items:
            if self.over.is_set():
                raise self._end or StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        self._given += 1
        return self._items.popleft()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._worker.stop(self)
