"""What could not be recorded, until that itself can be recorded."""

from collections import Counter
from typing import Literal

import msgspec

from streamer.contract import SCHEMA_VERSION, GapRecord, encode
from streamer.log.segment import Entry
from streamer.records import rfc3339

Reason = Literal["diskFull", "writeFailed", "overflow"]


class Gap:
    """Records of one stream, one after the other, that are not in the log."""

    def __init__(self, stream: str, reason: Reason, at: float) -> None:
        self.stream = stream
        self.reason = reason
        self.since = self.until = at
        self.counts: Counter[str] = Counter()
        self.first: int | None = None
        self.last: int | None = None

    def add(self, lost: "Entry | Gap", at: float) -> None:
        self.until = at
        if isinstance(lost, Gap):
            self.since = min(self.since, lost.since)
            self.counts += lost.counts
            self._extend(lost.first)
            self._extend(lost.last)
        else:
            self.counts[lost.kind] += 1
            self._extend(lost.seq)

    def _extend(self, seq: int | None) -> None:
        if seq is not None:
            self.first, self.last = seq if self.first is None else self.first, seq

    @property
    def records(self) -> int:
        return self.counts.total()

    def entry(self, session: str) -> Entry:
        """The record that stands in the log for what is missing."""
        unset = msgspec.UNSET
        record = GapRecord(
            SCHEMA_VERSION,
            self.stream,
            session,
            self.reason,
            rfc3339(self.since),
            rfc3339(self.until),
            dict(self.counts),
            unset if self.first is None else self.first,
            unset if self.last is None else self.last,
        )
        return Entry(self.stream, encode(record), "gap")
