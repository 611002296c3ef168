"""One segment while it is written."""

import errno
import hashlib
import io
import os
from collections import Counter
from pathlib import Path

import msgspec

from streamer import __version__
from streamer.contract import SCHEMA_VERSION, FooterRecord, SegmentRecord, encode
from streamer.records import rfc3339


class Entry(msgspec.Struct, frozen=True, eq=False):
    """A record on its way into the log: its JSON, its type and, of a frame, its number and whether it was analysed."""

    stream: str
    data: bytes
    kind: str
    seq: int | None = None
    processed: bool = False


class Tally:
    """What a footer tells of the records of a segment."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.frames: Counter[bool] = Counter()  # by whether they were analysed
        self.first: int | None = None
        self.last: int | None = None

    def count(self, kind: str, seq: int | None, processed: bool) -> None:
        self.counts[kind] += 1
        if seq is not None:
            self.frames[processed] += 1
            self.first, self.last = seq if self.first is None else self.first, seq

    def footer(self, stream: str, session: str, at: float, sha256: str, torn: int | None = None) -> FooterRecord:
        """`torn` bytes were cut off by a repair; None: there was none."""
        unset = msgspec.UNSET
        return FooterRecord(
            SCHEMA_VERSION,
            stream,
            session,
            rfc3339(at),
            dict(self.counts),
            self.frames[True],
            self.frames[False],
            sha256,
            unset if self.first is None else self.first,
            unset if self.last is None else self.last,
            torn is not None,
            torn or 0,
        )


class SegmentWriter:
    """A segment that grows. Whatever fails, the file ends with a complete record. All methods raise OSError."""

    def __init__(self, path: Path, stream: str, session: str, at: float, previous: str) -> None:
        self.path = path
        self.began = at
        self.size = 0
        self.synced = False
        self._listed = False  # whether its name is on the disk, too
        self._stream, self._session = stream, session
        self._hash = hashlib.sha256()
        self._tally = Tally()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: io.FileIO | None = path.open("xb", buffering=0)
        header = SegmentRecord(SCHEMA_VERSION, stream, session, rfc3339(at), f"facestreamer {__version__}", previous)
        try:
            self._write(encode(header) + b"\n")
        except OSError:
            self.park()
            path.unlink()
            raise

    def append(self, entries: list[Entry]) -> None:
        """All of them, or none."""
        self._write(b"".join(entry.data + b"\n" for entry in entries))
        for entry in entries:
            self._tally.count(entry.kind, entry.seq, entry.processed)

    def sync(self) -> None:
        """Returns when all that was written is on the disk. Raises FileNotFoundError if somebody deleted the file."""
        if self.synced:
            return
        parked = self._file is None
        file = self._opened()
        os.fsync(file.fileno())
        if not os.fstat(file.fileno()).st_nlink:
            raise FileNotFoundError(errno.ENOENT, f"{self.path} was deleted while it was written to")
        if not self._listed:
            sync_folder(self.path.parent)
        if parked:
            self.park()
        self.synced = self._listed = True

    def park(self) -> None:
        """Close the file until it is written to again: a process may have so many open only."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def seal(self, at: float) -> str:
        """Write the footer, and give its SHA-256."""
        footer = self._tally.footer(self._stream, self._session, at, self._hash.hexdigest())
        self._write(encode(footer) + b"\n")
        self.park()
        return footer.sha256

    def _opened(self) -> io.FileIO:
        if self._file is None:
            self._file = self.path.open("ab", buffering=0)
        return self._file

    def _write(self, data: bytes) -> None:
        file = self._opened()
        try:
            write_all(file, data)
        except OSError:
            os.truncate(file.fileno(), self.size)
            raise
        self._hash.update(data)
        self.size += len(data)
        self.synced = False


def write_all(file: io.FileIO, data: bytes) -> None:
    """Raises OSError; a part may be written then."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def sync_folder(path: Path) -> None:
    """Returns when the names in a folder are on the disk, where a system lets them be forced there. Raises OSError."""
    if os.name == "posix":
        folder = os.open(path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
