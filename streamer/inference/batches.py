"""Work on all that waits for a thread at once."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

A = TypeVar("A")
B = TypeVar("B")
_MOST = 4  # items: more cost hardly less each, and all are answered when the last is done


class Batches(Generic[A, B]):
    """Gathers items until a thread is free, which does `work` on all of them, in their order."""

    def __init__(self, begin: Callable[..., object], work: Callable[[Sequence[A]], Sequence[B]]) -> None:
        """`begin(function, *args)` calls a function in another thread."""
        self._begin = begin
        self._work = work
        self._waiting: deque[tuple[A, asyncio.Future[B]]] = deque()
        self._begun = False  # somebody will take what waits
        self._lock = threading.Lock()

    async def __call__(self, item: A) -> B:
        """What `work` makes of it, or raises."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[B] = loop.create_future()
        with self._lock:
            self._waiting.append((item, answer))
            begun, self._begun = self._begun, True
        if not begun:
            self._begin(self._do, loop)
        return await answer

    def _do(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), _MOST))]
            self._begun = bool(self._waiting)
        if self._begun:
            self._begin(self._do, loop)
        try:
            done = self._work([item for item, _ in batch])
        except BaseException as error:  # noqa: BLE001  # handed to all who wait
            loop.call_soon_threadsafe(self._fail, batch, error)
        else:
            loop.call_soon_threadsafe(self._tell, batch, done)

    @staticmethod
    def _tell(batch: list[tuple[A, asyncio.Future[B]]], done: Sequence[B]) -> None:
        for (_, answer), result in zip(batch, done, strict=True):
            if not answer.done():
                answer.set_result(result)

    @staticmethod
    def _fail(batch: list[tuple[A, asyncio.Future[B]]], error: BaseException) -> None:
        for _, answer in batch:
            if not answer.done():
                answer.set_exception(error)
