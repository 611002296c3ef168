"""Distributions and time series of any number of values in little memory."""

import math
from collections.abc import Iterator

_FINENESS = 50  # steps of a distribution per factor e: they are 2 % wide, so that values are right to 1 %
_LEAST = 1e-3  # smaller values are one step
_MOST = 240  # intervals of a time series
# Widths of intervals in seconds, each of which divides the next.
_WIDTHS = (1, 5, 10, 30, 60, 300, 600, 1800, 3600, 10_800, 21_600, 43_200, 86_400, 604_800)


class Distribution:
    """Of values from 0 on: count, sum and longest exactly, quantiles to 1 %."""

    __slots__ = ("count", "highest", "lowest", "steps", "total")

    def __init__(self) -> None:
        self.count, self.total, self.lowest, self.highest = 0, 0.0, math.inf, 0.0
        self.steps: dict[int, int] = {}

    def add(self, value: float) -> None:
        self.count += 1
        self.total += value
        if value > self.highest:
            self.highest = value
        if value < self.lowest:
            self.lowest = value
        step = int(math.log(value / _LEAST) * _FINENESS) if value > _LEAST else -1
        self.steps[step] = self.steps.get(step, 0) + 1

    def merge(self, other: "Distribution") -> None:
        self.count += other.count
        self.total += other.total
        self.lowest, self.highest = min(self.lowest, other.lowest), max(self.highest, other.highest)
        for step, count in other.steps.items():
            self.steps[step] = self.steps.get(step, 0) + count

    @property
    def mean(self) -> float:
        return self.total / self.count

    def quantile(self, share: float) -> float:
        """The smallest value that at least such a share of all do not exceed; there must be values."""
        return self.quantiles(share)[0]

    def quantiles(self, *shares: float) -> list[float]:
        ordered = sorted(self.steps.items())
        found = []
        for share in shares:
            wanted = max(math.ceil(share * self.count), 1)
            for step, count in ordered:
                wanted -= count
                if wanted <= 0:
                    found.append(min(max(_middle(step), self.lowest), self.highest))
                    break
        return found

    def between(self, low: float, high: float) -> int:
        """How many values are at least `low` and less than `high`, to 1 %."""
        return sum(count for step, count in self.steps.items() if low <= _middle(step) < high)


def _middle(step: int) -> float:
    return 0.0 if step < 0 else _LEAST * math.exp((step + 0.5) / _FINENESS)


class Interval:
    """What happened in one interval of a stream's time. `seconds` of it had frames, `intervals` of them."""

    __slots__ = (
        "age",
        "emotions",
        "faces",
        "frames",
        "intervals",
        "oldest",
        "processed",
        "seconds",
        "skipped",
        "weight",
    )

    def __init__(self) -> None:
        self.frames = self.processed = self.intervals = self.faces = 0
        self.seconds = self.age = self.oldest = self.weight = 0.0
        self.skipped: dict[str, int] = {}
        self.emotions = [0.0] * 7

    def merge(self, other: "Interval") -> None:
        self.frames += other.frames
        self.processed += other.processed
        self.intervals += other.intervals
        self.faces += other.faces
        self.seconds += other.seconds
        self.age += other.age
        self.oldest = max(self.oldest, other.oldest)
        self.weight += other.weight
        for reason, count in other.skipped.items():
            self.skipped[reason] = self.skipped.get(reason, 0) + count
        self.emotions = [a + b for a, b in zip(self.emotions, other.emotions, strict=True)]


class Timeline:
    """Intervals of equal width, which grows so that there are never more than some hundred of them."""

    def __init__(self) -> None:
        self._level = 0
        self._parts: dict[int, Interval] = {}
        self._first = self._last = 0

    @property
    def width(self) -> int:
        """Seconds."""
        return _WIDTHS[min(self._level, len(_WIDTHS) - 1)] << max(self._level - len(_WIDTHS) + 1, 0)

    def at(self, seconds: float) -> Interval:
        """The interval of a time in seconds since 1970."""
        index = int(seconds // self.width)
        part = self._parts.get(index)
        if part is None:
            first, last = (min(self._first, index), max(self._last, index)) if self._parts else (index, index)
            while last - first >= _MOST:
                first, last = self._widen(first, last)
            self._first, self._last = first, last
            part = self._parts.setdefault(int(seconds // self.width), Interval())
        return part

    def __iter__(self) -> Iterator[tuple[int, Interval]]:
        """Beginning, in seconds since 1970, and interval of all in which there was something, in order."""
        return iter(sorted((index * self.width, part) for index, part in self._parts.items()))

    def _widen(self, first: int, last: int) -> tuple[int, int]:
        before = self.width
        self._level += 1
        factor = self.width // before
        old, self._parts = self._parts, {}
        for index, part in old.items():
            kept = self._parts.setdefault(index // factor, part)
            if kept is not part:
                kept.merge(part)
        return first // factor, last // factor
