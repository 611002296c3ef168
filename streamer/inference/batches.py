"""Work on all that waits for a thread at once."""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

A = TypeVar("A")
B = TypeVar("B")
_MOST = 4  # items: more cost hardly less each, and all are answered when the last is done


class Batches(Generic[A, B]):
    """Gathers items until a thread is free, which does `work` on all of them, in their order."""

    def __init__(
        self, begin: Callable[[Callable[[], None]], Future[None]], work: Callable[[Sequence[A]], Sequence[B]]
    ) -> None:
        """`begin` calls a function in another thread, as `Executor.submit` does."""
        self._begin = begin
        self._work = work
        self._waiting: deque[tuple[A, asyncio.Future[B]]] = deque()
        self._begun = False  # somebody will take what waits
        self._lock = threading.Lock()

    async def __call__(self, item: A) -> B:
        """What `work` makes of it, or raises. Cancelled if there are no more threads."""
        answer: asyncio.Future[B] = asyncio.get_running_loop().create_future()
        with self._lock:
            self._waiting.append((item, answer))
            begun, self._begun = self._begun, True
        if not begun:
            self._ask()
        return await answer

    def _ask(self) -> None:
        """Have a thread take what waits."""
        try:
            self._begin(self._do).add_done_callback(self._unless_done)
        except RuntimeError:  # the threads have been shut down
            self._abandon()

    def _unless_done(self, asked: Future[None]) -> None:
        if asked.cancelled():  # they were shut down before it was begun
            self._abandon()

    def _abandon(self) -> None:
        with self._lock:
            abandoned, self._waiting, self._begun = self._waiting, deque(), False
        for _, answer in abandoned:
            _tell(answer, answer.cancel)

    def _do(self) -> None:
        batch = list[tuple[A, asyncio.Future[B]]]()
        with self._lock:
            while self._waiting and len(batch) < _MOST:
                item, answer = self._waiting.popleft()
                if not answer.done():  # else nobody waits for it any more
                    batch.append((item, answer))
            self._begun = more = bool(self._waiting)
        if more:
            self._ask()
        if batch:
            self._answer(batch)

    def _answer(self, batch: Sequence[tuple[A, asyncio.Future[B]]]) -> None:
        try:
            done = self._work([item for item, _ in batch])
        except BaseException as error:  # noqa: BLE001  # handed to who waits
            if len(batch) == 1:
                _tell(batch[0][1], batch[0][1].set_exception, error)
            else:  # one of them may be to blame: the others do not suffer for it
                for each in batch:
                    self._answer([each])
        else:
            for (_, answer), result in zip(batch, done, strict=True):
                _tell(answer, answer.set_result, result)


def _tell(answer: asyncio.Future[Any], tell: Callable[..., object], *what: object) -> None:
    """From another thread. Who waited may be gone, and even its loop."""

    def unless_gone() -> None:
        if not answer.done():
            tell(*what)

    with contextlib.suppress(RuntimeError):
        answer.get_loop().call_soon_threadsafe(unless_gone)
