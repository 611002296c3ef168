"""The few pieces of concurrency that everything else is built from: mailbox, ordered work, hub, slots."""

import asyncio
import contextlib
import math
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterator
from typing import Any, Generic, Literal, Protocol, TypeVar

import msgspec

from streamer.errors import StreamerError
from streamer.face import FrameResult, Look, Shot

A = TypeVar("A")
B = TypeVar("B")


_REMEMBERED = 500  # records of each stream, for consumers that come back
_MOST_WAITING = 1000  # messages that one consumer may leave waiting
_ALONG = 256  # items that take the room of one, if all but the last need none


class OverrunError(StreamerError):
    """The analysis has not taken a picture for so long that even the list of passed-over ones is full."""

    code = "overrun"


class Mailbox(Generic[A]):
    """Hands items from one thread to one coroutine, in order."""

    def __init__(self, supersede: Callable[[A, A], A], *, size: int = 2, limit: int = 4096) -> None:
        """`supersede` tells what becomes of an item that still waits when a newer one comes. `size` items wait at most
        for a patient `put`; `limit` bounds what an impatient one may pile up.
        """
        self._loop = asyncio.get_running_loop()
        self._supersede = supersede
        self._size = size
        self._limit = limit
        self._items: deque[A] = deque()
        self._lock = threading.Condition()
        self._arrived = asyncio.Event()
        self._finished = False
        self._error: BaseException | None = None

    def put(self, item: A, *, newest_wins: bool) -> bool:
        """From the thread. False once the mailbox is finished. Raises OverrunError.

        With `newest_wins` it never waits: items that nobody has taken yet become `supersede(waiting, item)`, which
        still have their places in the order. Without, it waits until there is room (files: none is passed over).
        """
        with self._lock:
            if not newest_wins:
                self._lock.wait_for(lambda: self._finished or len(self._items) < self._size)
            if self._finished:
                return False
            if newest_wins:
                self._items = deque(self._supersede(waiting, item) for waiting in self._items)
            if len(self._items) >= self._limit:
                raise OverrunError(f"the analysis took none of {self._limit} pictures")
            self._items.append(item)
            self._wake()
        return True

    def finish(self, error: BaseException | None = None) -> None:
        """No more items; the taker gets those that wait, then `error` or the end. Only the first call counts."""
        with self._lock:
            if not self._finished:
                self._finished, self._error = True, error
                self._lock.notify_all()
                self._wake()

    def _wake(self) -> None:
        # The loop may be closed already when an abandoned thread comes back at last.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._arrived.set)

    async def first(self) -> A | None:
        """The oldest item, which stays where it is, as soon as there is one; None at the end, or `finish`'s error."""
        while True:
            self._arrived.clear()
            with self._lock:
                if self._items:
                    return self._items[0]
                if self._finished:
                    if self._error is not None:
                        raise self._error
                    return None
            await self._arrived.wait()

    async def oldest(self, wanted: Callable[[A], bool]) -> bool:
        """Until the oldest item is `wanted`; False if there will be no more."""
        while True:
            self._arrived.clear()
            with self._lock:
                if self._items and wanted(self._items[0]):
                    return True
                if self._finished:
                    return False
            await self._arrived.wait()

    def take(self, wanted: Callable[[A], bool] = lambda _: True) -> A | None:
        """The oldest item, taken out; None if there is none at the moment, or it is not `wanted`."""
        with self._lock:
            self._lock.notify_all()
            return self._items.popleft() if self._items and wanted(self._items[0]) else None


async def ordered(
    source: AsyncIterable[A],
    work: Callable[[A], Awaitable[B]],
    width: int,
    light: Callable[[A], bool] = lambda _: False,
) -> AsyncGenerator[B, None]:
    """`work` on the items of `source`, up to `width` at a time, the results in the order of the items.

    An item is taken from the source only when there is room to work on it, so that a newest-wins source stays fresh.
    Those that are `light` need none and go along with the next that is not: what the source already holds for that one
    it must not hold until somebody takes the results.
    """
    room = asyncio.Semaphore(width)
    under_way: _UnderWay[B] = asyncio.Queue()
    pumping = asyncio.create_task(_pump(source, work, light, room, under_way))
    pending: list[asyncio.Future[Any]] = [pumping]
    try:
        while (first := await under_way.get()) is not None:
            task, last = first
            pending[1:] = [task]
            yield await task
            if last:
                room.release()
    finally:
        while not under_way.empty():
            pending += (under_way.get_nowait() or ())[:1]
        for each in pending:
            each.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        await _close(source)


# Work in order, each with whether the room is free after it; None at the end. Bounded by the room.
_UnderWay = asyncio.Queue[tuple[asyncio.Future[B], bool] | None]


async def _pump(
    source: AsyncIterable[A],
    work: Callable[[A], Awaitable[B]],
    light: Callable[[A], bool],
    room: asyncio.Semaphore,
    under_way: _UnderWay[B],
) -> None:
    items = aiter(source)
    try:
        while True:
            await room.acquire()
            for left in reversed(range(_ALONG)):
                item = await anext(items)
                last = not left or not light(item)
                under_way.put_nowait((asyncio.ensure_future(work(item)), last))
                if last:
                    break
    except StopAsyncIteration:
        under_way.put_nowait(None)
    except Exception as error:  # noqa: BLE001  # handed on, in its place in the order
        failed: asyncio.Future[B] = asyncio.get_running_loop().create_future()
        failed.set_exception(error)
        under_way.put_nowait((failed, True))


async def each(source: AsyncIterable[A], work: Callable[[A], B]) -> AsyncGenerator[B, None]:
    """`work` on each item of `source`, one by one."""
    try:
        async for item in source:
            yield work(item)
    finally:
        await _close(source)


async def _close(source: AsyncIterable[Any]) -> None:
    if isinstance(source, AsyncGenerator):
        await source.aclose()


Shoot = Callable[[Look], Awaitable[Shot]]


class Message(msgspec.Struct, frozen=True, eq=False):
    """A record on its way out: its JSON, encoded once for everybody, and what consumers must know of it.

    Of a frame: its number, whether it was `passed_over`, not analysed, how many `faces` are in it, and the result that
    it was made from, unless it comes out of a log. Where the pixels are in another process, `shoot` asks there for the
    stream's newest picture.
    """

    stream: str
    data: bytes
    kind: Literal["frame", "status", "track"] = "status"
    seq: int = -1
    passed_over: bool = False
    faces: int = 0
    result: FrameResult | None = None
    shoot: Shoot | None = None

    @property
    def is_frame(self) -> bool:
        return self.kind == "frame"


def frame_message(stream: str, data: bytes, result: FrameResult, shoot: Shoot | None = None) -> Message:
    frame = result.frame
    return Message(stream, data, "frame", frame.seq, frame.skipped is not None, len(result.faces), result, shoot)


class Output(Protocol):
    """Somewhere that records go, with the `name` of its metrics."""

    name: str

    async def put(self, message: Message) -> None:
        """May wait only for as long as nothing may be lost there."""

    def figures(self) -> dict[str, float]:
        """How it goes, for `/metrics`: names that end in `_total` are of what is counted."""


class Consumer(Protocol):
    """Somebody who is shown every message and never makes anybody wait."""

    def offer(self, message: Message) -> None: ...


class Slots:
    """What one slow consumer has yet to take, in the order of publishing: the newest frame of each stream, and whatever
    is no frame.

    A frame that was not taken in time is replaced by the next one, but never by one that was not analysed, and
    counted in `skipped`.
    """

    def __init__(self) -> None:
        self._waiting: list[Message] = []
        self._filled = asyncio.Event()
        self.skipped = 0

    def offer(self, message: Message) -> None:
        """Never waits."""
        if message.is_frame:
            older = [m for m in self._waiting if m.is_frame and m.stream == message.stream]
            self.skipped += len(older)
            if message.passed_over and any(not m.passed_over for m in older):
                return
            self._waiting = [m for m in self._waiting if m not in older]
        self._waiting.append(message)
        del self._waiting[:-_MOST_WAITING]
        self._filled.set()

    async def take(self) -> list[Message]:
        """Everything that waits, at least one message."""
        await self._filled.wait()
        self._filled.clear()
        messages, self._waiting = self._waiting, []
        return messages


class Hub:
    """Where the streams' records meet their consumers, and where the newest of each can be looked up."""

    def __init__(self, session: str = "", keepers: tuple[Output, ...] = ()) -> None:
        """`keepers` are the outputs that must lose nothing; publishing waits for them, and for nobody else.

        `past` holds the last records of each stream, encoded, each with its `seq`; that of what is no frame is half of
        one more than that of the frame before it.
        """
        self.session = session
        self.keepers = keepers
        self._consumers: set[Consumer] = set()
        self.states: dict[str, Message] = {}
        self.frames: dict[str, Message] = {}
        self.past: dict[str, deque[tuple[float, bytes]]] = {}

    async def publish(self, message: Message) -> None:
        if message.kind == "status":
            self.states[message.stream] = message
        elif message.is_frame and not message.passed_over:
            self.frames[message.stream] = message
        past = self.past.setdefault(message.stream, deque(maxlen=_REMEMBERED))
        seq = message.seq if message.is_frame else math.floor(past[-1][0]) + 0.5 if past else -0.5
        past.append((seq, message.data))
        for consumer in self._consumers:
            consumer.offer(message)
        for keeper in self.keepers:
            await keeper.put(message)

    def forget(self, stream: str) -> None:
        """A stream is no more: newcomers hear nothing of it."""
        self.states.pop(stream, None)
        self.frames.pop(stream, None)
        self.past.pop(stream, None)

    @contextlib.contextmanager
    def attach(self, consumer: "Consumer") -> Iterator[None]:
        """Offer it everything until the block is left."""
        self._consumers.add(consumer)
        try:
            yield
        finally:
            self._consumers.discard(consumer)

    @contextlib.contextmanager
    def subscribe(self) -> Iterator[Slots]:
        """Slots that hold the newest records from the start and are filled until the block is left."""
        slots = Slots()
        for message in (*self.states.values(), *self.frames.values()):
            slots.offer(message)
        with self.attach(slots):
            yield slots
