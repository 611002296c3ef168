"""An even rate out of an uneven one."""

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
