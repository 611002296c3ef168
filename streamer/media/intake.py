"""Which packets of a live source are decoded at all, and which pictures analysed, before anything is spent on them."""

from streamer.analysis.pace import Pace
from streamer.config import StreamSettings
from streamer.media.budget import Purse
from streamer.media.clock import Backlog

_PATIENCE = 1.0  # seconds that decoding may take to catch up by itself
_DRAINED = 2.0  # seconds after which what was read without decoding was no backlog


class Intake:
    """Decides for each packet, then for each picture. Times are seconds on the host's monotonic axis."""

    def __init__(self, stream: StreamSettings, purse: Purse) -> None:
        self._keyframes_only = stream.keyframes_only
        self._most = stream.max_age
        self._pace = Pace(1 / stream.fps if stream.fps else 0.0)
        self._backlog = Backlog()
        self._purse = purse
        self._late: float | None = None  # since when packets have waited too long
        self._leaving: float | None = None  # since when they are passed over
        self.lag = 0.0  # seconds that the newest packet waited to be read

    def passes_over(self, time: float | None, key: bool, arrived: float) -> str | None:
        """Why a packet is not decoded, or None if it is. `time` is its own, in seconds; `key` begins a group.

        A decoder that stays behind can only catch up by leaving pictures out, up to the next key picture.
        """
        self.lag = 0.0 if time is None else self._backlog.update(time, arrived)
        self._late = None if self.lag <= self._most else self._late or arrived
        poor = self._purse.empty
        if self.lag > self._most / 2:
            self._purse.late()
        if self._leaving is None:
            if poor or (self._late is not None and arrived - self._late > _PATIENCE):
                self._leaving = arrived
        elif self._late is not None and arrived - self._leaving > _DRAINED:
            self._backlog.accept()
        if key and self._late is None and not poor:
            self._leaving = None
        if self._leaving is not None:
            return "overload"
        return "keyframesOnly" if self._keyframes_only and not key else None

    def decoded(self, seconds: float) -> None:
        """A packet that was not passed over took so much CPU time."""
        self._purse.spend(seconds)

    def leaves_out(self, at: float) -> str | None:
        """Why a picture that was decoded is not analysed, or None if it is."""
        if self.lag > self._most:
            return "stale"
        return None if self._pace.due(at) else "fps"
