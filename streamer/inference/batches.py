"""Work on all that waits for a thread at once."""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

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
        answer: asyncio.Future[B] = asyncio.get_running_loop().create_future()
        with self._lock:
            self._waiting.append((item, answer))
            begun, self._begun = self._begun, True
        if not begun:
            self._begin(self._do)
        return await answer

    def _do(self) -> None:
        with self._lock:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), _MOST))]
            self._begun = more = bool(self._waiting)
        if more:
            self._begin(self._do)
        try:
            done = self._work([item for item, _ in batch])
        except BaseException as error:  # noqa: BLE001  # handed to all who wait
            for _, answer in batch:
                _tell(answer, answer.set_exception, error)
        else:
            for (_, answer), result in zip(batch, done, strict=True):
                _tell(answer, answer.set_result, result)


def _tell(answer: asyncio.Future[Any], tell: Callable[[Any], None], what: object) -> None:
    """From another thread. Who waited may be gone, and even its loop."""

    def unless_gone() -> None:
        if not answer.done():
            tell(what)

    with contextlib.suppress(RuntimeError):
        answer.get_loop().call_soon_threadsafe(unless_gone)
