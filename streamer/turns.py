"""Fair shares of the machine: whose picture is analysed next, and how busy the machine is.

A turn is held from before a picture leaves its mailbox until its faces are described. While a stream waits for one,
newer pictures replace the one that waits, so that waiting never makes a result old.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

_NEWEST = 0.1  # weight of the newest sample in a running mean
_SETTLE = 1.0  # seconds that a change takes to show, before there can be another
_MOST = 3.0  # times as long as usual is the most that a turn is charged for
_CALM = 60.0  # seconds without anybody in a hurry: more than there are between the key pictures of cameras
_RECOVERY = 5.0  # seconds without late results after which a turn that was withheld can be taken again


class Turns:
    """At most `width` turns are held at a time, over all shares; fewer for a while after results were `late`, but at
    least `least`: as many as can be worked on at once. When nobody has been in a hurry for long there are `most`: work
    on many pictures at once is quicker, but each of them is done later.

    The next one goes to the waiting share that has used the least time (start-time fair queueing, Goyal et al. 1996):
    equal streams take turns equally often, and one of costly pictures takes fewer instead of slowing the others.
    """

    def __init__(
        self, width: int, least: int = 1, now: Callable[[], float] = time.monotonic, most: int | None = None
    ) -> None:
        self.width = width
        self.most = most or width
        self._least = least
        self.now = now
        self._held = 0
        self._withheld = 0
        self._hurried = -math.inf  # when somebody in a hurry asked for a turn last
        self._changed = now()  # when turns were withheld or given back last
        self._served = 0.0  # what the share that was served last had used
        self._waiting: list[tuple[Share, asyncio.Future[None]]] = []

    @contextmanager
    def share(self) -> "Iterator[Share]":
        """One stream's share; turns that it still holds when the block is left are given back."""
        share = Share(self)
        try:
            yield share
        finally:
            share.close()

    @property
    def held(self) -> int:
        """How many turns are held."""
        return self._held

    @property
    def waiting(self) -> int:
        """How many are waited for."""
        return sum(not turn.done() for _share, turn in self._waiting)

    @property
    def free(self) -> bool:
        """Whether somebody in a hurry would get one without waiting."""
        return self._held < self.width - self._withheld and not self.waiting

    @property
    def _width(self) -> int:
        """How many may be held at the moment."""
        if self.now() - self._hurried > _CALM:
            return self.most
        return self.width - self._withheld

    def late(self) -> None:
        """A result took too long: the fewer are worked on at a time, the sooner each is done."""
        now = self.now()
        if now - self._changed >= _SETTLE:
            self._withheld = min(self._withheld + 1, self.width - self._least)
            self._changed = now

    async def wait(self, share: "Share", *, hurried: bool = True) -> None:
        """Until it is this share's turn."""
        if hurried:
            self._hurried = self.now()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((share, turn))
        self._grant()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.end()
            raise

    def end(self) -> None:
        """A turn is over, and the next one begins."""
        self._held -= 1
        self._grant()

    def _grant(self) -> None:
        if self._withheld and self.now() - self._changed >= _RECOVERY:
            self._withheld -= 1
            self._changed = self.now()
        self._waiting = [(share, turn) for share, turn in self._waiting if not turn.done()]
        while self._waiting and self._held < self._width:
            share, turn = min(self._waiting, key=lambda waiting: waiting[0].used)
            self._waiting.remove((share, turn))
            self._held += 1
            # Who was idle does not catch up on what it left to others.
            self._served = max(share.used, self._served)
            share.used = self._served + share.usual
            turn.set_result(None)


class Share:
    """One stream's part of the turns.

    `used` is its time so far, as the queue counts it; `usual` how long a turn of its usually lasts, and `waited` how
    long it usually waits for one: nothing on a machine that is not busy. All in seconds.
    """

    def __init__(self, turns: Turns) -> None:
        self.used = 0.0
        self.usual = 0.0
        self.waited = 0.0
        self._turns = turns
        self._held: deque[tuple[float, float]] = deque()  # when each began, and the time it was charged for

    @property
    def free(self) -> bool:
        """Whether there is a turn without waiting, for who is in a hurry."""
        return self._turns.free

    async def take(self, since: float | None = None, *, hurried: bool = True) -> None:
        """Wait for a turn; `since` tells since when there was something to do, if not only from now on. What is not
        `hurried` may take long.
        """
        asked = self._turns.now() if since is None else since
        await self._turns.wait(self, hurried=hurried)
        now = self._turns.now()
        self._held.append((now, self.usual))
        self.waited += _NEWEST * (now - asked - self.waited)

    def give_back(self) -> None:
        """The turn that was taken first is over."""
        began, charged = self._held.popleft()
        lasted = self._turns.now() - began
        # What is longer by far is no picture's cost: a model is compiled meanwhile, or something else has the CPU.
        self.used += min(lasted, _MOST * self.usual) - charged
        self.usual += _NEWEST * (lasted - self.usual)
        self._turns.end()

    @asynccontextmanager
    async def turn(self) -> AsyncGenerator[None, None]:
        """Wait for a turn, and hold it for the block."""
        await self.take()
        try:
            yield
        finally:
            self.give_back()

    def close(self) -> None:
        """Give back all turns that are held."""
        while self._held:
            self.give_back()
