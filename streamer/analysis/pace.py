"""What is due when: an even rate out of an uneven one, and faces that are to be looked at again."""

import numpy as np

from streamer.face import Float64s, Ints

_EARLY = 0.25  # of a period that something may come too soon: times of pictures jitter


class Pace:
    """Lets one moment through in every `period` seconds, evenly; 0: every one. It may be changed at any time."""

    def __init__(self, period: float) -> None:
        self.period = period
        self._turn: float | None = None  # of the moment that was let through last

    def due(self, at: float) -> bool:
        """For each moment in order, on an axis in seconds."""
        if self._turn is None or at - self._turn > 2 * self.period:
            self._turn = at
            return True
        if at < self._turn + (1 - _EARLY) * self.period:
            return False
        self._turn += self.period
        return True


class Looks:
    """Whose age, gender and emotions are due for a new look."""

    def __init__(self, forget: float) -> None:
        """`forget`: seconds after which a track that is not seen is gone."""
        self._forget = forget
        self._looked: dict[int, float] = {}
        self._seen: dict[int, float] = {}

    def held(self, ids: Ints, at: float, interval: float) -> Float64s:
        """For tracks `ids` (n,) seen at `at`: 0 where one is due, else the seconds since its last look (n,).

        A track is due when it is new, and every `interval` seconds.
        """
        self._seen |= {int(number): at for number in ids}
        for number in [number for number, seen in self._seen.items() if at - seen > self._forget]:
            del self._seen[number], self._looked[number]
        since = np.array([at - self._looked.get(int(number), -np.inf) for number in ids])
        due = since >= interval
        self._looked |= {int(number): at for number in ids[due]}
        return np.where(due, 0.0, since)
