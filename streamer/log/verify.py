"""Whether a log is what was written, and all of it: each segment's hash, their chain, every frame's number."""

import hashlib
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from streamer.contract import FooterRecord, GapRecord, SegmentRecord, decode_logged
from streamer.errors import LogError
from streamer.log.layout import Segment, find
from streamer.log.lines import Head, head, raw_lines, removed
from streamer.log.lock import in_use
from streamer.log.segment import Tally

Kind = Literal[
    "hole",  # frames without a record, and without a word about it
    "gap",  # records that could not be written, as the log itself says
    "torn",  # a half-written record at the end, or no footer: the writer was killed, and nothing has written since
    "damaged",  # lines that are no records, or a file that cannot be read
    "changed",  # the content is not what the footer vouches for
    "chain",  # the segment before is not the one that was there when this one was begun
    "removed",  # deleted by the settings for age or size
    "repaired",  # the writer was killed; what it had begun to write was cut off later
    "killed",  # a session that has no end
    "open",  # it is still written to
]
T = TypeVar("T")
_HARMLESS = ("removed", "repaired", "killed", "open")


class Finding(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Something to know about a stream's log; `from` and `to` are frames (`seq`) of `session`."""

    kind: Kind
    message: str
    segment: str = ""
    session: str = ""
    from_: int | None = msgspec.field(name="from", default=None)
    to: int | None = None

    @property
    def harmless(self) -> bool:
        """Whether nothing is missing or wrong because of it."""
        return self.kind in _HARMLESS


class Verdict(msgspec.Struct, rename="camel"):
    """What was found of one stream, in the order of its log. `missing` counts frames that have no record."""

    stream: str
    segments: int = 0
    records: int = 0
    frames: int = 0
    sessions: int = 0
    missing: int = 0
    findings: list[Finding] = []

    @property
    def whole(self) -> bool:
        return all(finding.harmless for finding in self.findings)


def verify(where: Path, wanted: tuple[str, ...] = ()) -> list[Verdict]:
    """Look at every line of a log, or of its streams `wanted`. Raises LogError if there is none."""
    being_written = in_use(where)
    found = find(where, wanted)
    return [_Stream(name, segments, being_written).verdict() for name, segments in found.items()]


class _Session:
    """How far the records of one session of one stream go."""

    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.ended = False
        self.records = 0


class _Stream:
    """The walk through the segments of one stream; a plain file may hold several streams."""

    def __init__(self, name: str, segments: list[Segment], being_written: bool) -> None:
        self._segments = segments
        self._being_written = being_written
        self._verdict = Verdict(name, findings=[])
        self._sessions: dict[tuple[str, str], _Session] = {}
        self._removed: dict[str, int] = {}  # the first frame of each session that is still there
        self._last_hash: str | None = ""  # None: not known
        self._at = ""  # the segment under the glass

    def verdict(self) -> Verdict:
        if self._segments and self._segments[0].session:
            self._read_removed(self._segments[0].path.parent.parent)
        for number, segment in enumerate(self._segments):
            self._at = _place(segment)
            try:
                self._walk(segment, newest=number == len(self._segments) - 1)
            except LogError as error:
                self._find("damaged", error.message)
                self._last_hash = None
        self._at = ""
        for (stream, session), seen in self._sessions.items():
            if not seen.ended and not self._being_written:
                what = f"session {session}" + (f" of {stream}" if stream != self._verdict.stream else "")
                self._find("killed", f"{what} has no end: after frame {seen.expected - 1} nothing is known", session)
        self._verdict.segments = len(self._segments)
        self._verdict.sessions = len(self._sessions)
        return self._verdict

    def _find(self, kind: Kind, message: str, session: str = "", frames: tuple[int, int] | None = None) -> None:
        first, last = frames or (None, None)
        self._verdict.findings.append(Finding(kind, message, self._at, session, first, last))

    def _read_removed(self, folder: Path) -> None:
        try:
            gone = removed(folder)
        except LogError as error:
            self._find("damaged", error.message)
            return
        for record in gone:
            self._last_hash = record.footer.sha256
            if record.footer.last_seq is not msgspec.UNSET:
                self._removed[record.footer.session] = record.footer.last_seq + 1
        if gone:
            records = sum(sum(record.footer.counts.values()) for record in gone)
            self._find("removed", f"{len(gone)} segments with {records} records were deleted for their age or size")

    def _walk(self, segment: Segment, *, newest: bool) -> None:
        digest, tally, footer, torn = hashlib.sha256(), Tally(), None, False
        for number, line in enumerate(raw_lines(segment), 1):
            if not line.endswith(b"\n"):
                torn = True
            elif (found := self._head(line, segment, number)) and found.type == "footer":
                footer = self._decoded(line, FooterRecord)
            else:
                digest.update(line)
                self._line(found, line, tally)
        if footer is not None:
            self._judge(footer, digest.hexdigest(), tally, segment)
        elif segment.session and newest and self._being_written:
            self._find("open", "a run writes to it")
        elif segment.session:
            self._find("torn", "it has no footer: its writer was killed; --repair, or the next run there, mends that")
            self._last_hash = digest.hexdigest()
        elif torn:
            self._find("torn", "the last record is half-written; the next run into this file cuts it off")

    def _head(self, line: bytes, segment: Segment, number: int) -> Head | None:
        try:
            return head(line, segment, number)
        except LogError as error:
            self._find("damaged", error.message)
            return None

    def _line(self, found: Head | None, line: bytes, tally: Tally) -> None:
        if found is None:
            return
        if found.type == "segment":
            self._begin(line)
            return
        tally.count(found.type, found.seq if found.type == "frame" else None, found.status == "processed")
        self._record(found, line)

    def _begin(self, line: bytes) -> None:
        header = self._decoded(line, SegmentRecord)
        if header is not None and self._last_hash is not None and header.previous != self._last_hash:
            before = "it is not the first" if not self._last_hash else "the one before was another"
            self._find("chain", f"{before} when this was begun: segments before it are missing or were changed")

    def _record(self, found: Head, line: bytes) -> None:
        self._verdict.records += 1
        key = found.stream, found.session
        seen = self._sessions.get(key)
        if seen is None:
            seen = self._sessions[key] = _Session(self._removed.get(found.session, 0))
        if found.type == "frame" and found.seq is not None:
            self._verdict.frames += 1
            self._expect(seen, found.session, found.seq)
            seen.expected = found.seq + 1
        elif found.type == "gap":
            self._gap(seen, line)
        elif found.type == "status":
            seen.ended = b'"state":"ended"' in line

    def _expect(self, seen: _Session, session: str, seq: int) -> None:
        if seq > seen.expected:
            self._verdict.missing += seq - seen.expected
            self._find("hole", f"frames {seen.expected} to {seq - 1} have no record", session, (seen.expected, seq - 1))
        elif seq < seen.expected:
            self._find("damaged", f"frame {seq} comes after frame {seen.expected - 1}", session, (seq, seq))

    def _gap(self, seen: _Session, line: bytes) -> None:
        gap = self._decoded(line, GapRecord)
        if gap is None:
            return
        seen.ended = "status" in gap.counts
        what = ", ".join(f"{count} {kind}" for kind, count in gap.counts.items())
        message = f"{what} could not be written from {gap.since} to {gap.until}: {gap.reason}"
        if gap.from_ is msgspec.UNSET or gap.to is msgspec.UNSET:
            self._find("gap", message, gap.session)
            return
        self._expect(seen, gap.session, gap.from_)
        seen.expected = gap.to + 1
        self._verdict.missing += gap.counts.get("frame", 0)
        self._find("gap", message, gap.session, (gap.from_, gap.to))

    def _judge(self, footer: FooterRecord, digest: str, tally: Tally, segment: Segment) -> None:
        told = tally.footer(segment.stream, footer.session, 0.0, digest)
        if footer.sha256 != digest:
            self._find("changed", "the content is not what the footer vouches for")
        elif (footer.counts, footer.processed, footer.skipped) != (told.counts, told.processed, told.skipped):
            self._find("changed", "the footer's counts are not those of the records")
        if footer.repaired:
            cut = f", {footer.torn_bytes} bytes of a half-written record were cut off" if footer.torn_bytes else ""
            self._find("repaired", f"its writer was killed{cut}")
        self._last_hash = footer.sha256

    def _decoded(self, line: bytes, kind: type[T]) -> T | None:
        try:
            record = decode_logged(line)
        except msgspec.DecodeError as error:
            self._find("damaged", f"a {kind.__name__} cannot be read: {error}")
            return None
        return record if isinstance(record, kind) else None


def _place(segment: Segment) -> str:
    return f"{segment.path.parent.name}/{segment.path.name}" if segment.session else segment.path.name
