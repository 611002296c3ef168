"""How much is worked on at a time, how much may wait for it, and when others are sent away."""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager

from streamer.errors import BusyError

_NEWEST = 0.2  # weight of the newest sample in a running mean
_LONGEST = 60  # seconds after which anybody may try again


class Admission:
    """`present` requests are there; `working` of their pictures are worked on, at most `concurrency` at a time."""

    def __init__(self, concurrency: int, queue: int) -> None:
        self.present = 0
        self.working = 0
        self._concurrency = concurrency
        self._most = concurrency + queue
        self._turns = asyncio.Semaphore(concurrency)
        self._usual = 1.0  # seconds that a picture takes

    @contextmanager
    def entered(self) -> Iterator[None]:
        """A request is there until the block is left. Raises BusyError if there are too many."""
        if self.present >= self._most:
            wait = math.ceil(self.present * self._usual / self._concurrency)
            raise BusyError(
                f"{self.present} requests are being worked on or wait for it",
                "come back later, or send fewer at a time",
                retry_after=min(max(wait, 1), _LONGEST),
            )
        self.present += 1
        try:
            yield
        finally:
            self.present -= 1

    @asynccontextmanager
    async def turn(self) -> AsyncGenerator[None, None]:
        """Wait for a turn, and hold it for the block."""
        async with self._turns:
            began = time.monotonic()
            self.working += 1
            try:
                yield
            finally:
                self.working -= 1
                self._usual += _NEWEST * (time.monotonic() - began - self._usual)
