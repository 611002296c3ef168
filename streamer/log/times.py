"""Points in time as people write them, and spans of time in a log."""

import math
import re
from datetime import UTC, datetime

import msgspec

from streamer.errors import ConfigError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_AGO = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) ?([smhd])", re.ASCII)


def moment(text: str, now: float) -> float:
    """Seconds since 1970 of an ISO 8601 date or date and time, UTC where it names no zone; or of `90s`, `30m`, `2h`,
    `3d` before `now`. Raises ConfigError.
    """
    ago = _AGO.fullmatch(text.strip().lower())
    if ago:
        return now - float(ago[1]) * _UNITS[ago[2]]
    try:
        found = datetime.fromisoformat(text.strip().upper())
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ConfigError(
            f"{text!r} is no point in time", "such as 2026-11-25, 2026-11-25T09:30:00Z, or 90s, 30m, 2h, 3d ago"
        ) from None


class Span(msgspec.Struct, frozen=True):
    """From `since` until before `until`, seconds since 1970."""

    since: float = -math.inf
    until: float = math.inf

    def __contains__(self, at: float) -> bool:
        return self.since <= at < self.until

    @property
    def limited(self) -> bool:
        return self.since > -math.inf or self.until < math.inf


def span(since: str | None, until: str | None, now: float) -> Span:
    """Between two moments, either of which may be left open. Raises ConfigError."""
    found = Span(
        -math.inf if since is None else moment(since, now),
        math.inf if until is None else moment(until, now),
    )
    if found.since >= found.until:
        raise ConfigError(f"--from {since} is not before --to {until}", "give the earlier time to --from")
    return found
