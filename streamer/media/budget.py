"""How much of the machine decoding may take: all it wants, until results get old.

A stream cannot leave out just any picture, for most are made from the one before. So a source whose means are spent
stops decoding until the next key picture: results are missed instead of all of them being late.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SETTLE = 3.0  # seconds that a cut takes to show, before there can be another
_HALF = 0.5  # of the machine is left to decoding when results are late,
_CUT = 0.75  # and so much of that when they still are
_LEAST = 0.2  # of the machine: if results are late even so, it is not decoding that makes them late
_GROWTH = 0.05  # a second, while none is
_SAVED = 5.0  # seconds' worth of means that a source may save up: key pictures can be far apart


class DecodingBudget:
    """CPU time for the decoders of all sources together; used from their threads."""

    def __init__(self, threads: int, now: Callable[[], float] = time.monotonic) -> None:
        self._threads = threads
        self._now = now
        self._lock = threading.Lock()
        self._limit = math.inf  # CPU seconds a second
        self._cut = -math.inf
        self._grown = now()
        self._sources = 0

    def late(self) -> None:
        """A result was late: decoding gets less from now on."""
        with self._lock:
            now = self._now()
            if now - self._cut >= _SETTLE:
                self._limit = max(min(_HALF * self._threads, _CUT * self._limit), _LEAST * self._threads)
                self._cut = self._grown = now

    def means(self) -> float:
        """CPU seconds a second for each source that has a purse."""
        with self._lock:
            now = self._now()
            self._limit *= 1 + _GROWTH * (now - self._grown)
            self._grown = now
            if self._limit > self._threads:
                self._limit = math.inf
            return self._limit / self._sources

    @contextmanager
    def purse(self) -> "Iterator[Purse]":
        """The part of one more source, for as long as the block lasts."""
        with self._lock:
            self._sources += 1
        try:
            yield Purse(self, self._now)
        finally:
            with self._lock:
                self._sources -= 1


class Purse:
    """One source's part of the budget; `late` says that its results are."""

    def __init__(self, budget: DecodingBudget, now: Callable[[], float]) -> None:
        self.late = budget.late
        self._budget = budget
        self._now = now
        self._left = 0.0
        self._filled = now()

    @property
    def empty(self) -> bool:
        """Whether more was spent than the source may."""
        now, means = self._now(), self._budget.means()
        if math.isinf(means):
            self._left = 0.0
        else:
            self._left = min(self._left + means * (now - self._filled), means * _SAVED)
        self._filled = now
        return self._left < 0

    def spend(self, seconds: float) -> None:
        """So much CPU time was spent on decoding."""
        self._left -= seconds
