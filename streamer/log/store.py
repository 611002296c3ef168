"""Where records are written: a folder of segments, or one plain file."""

import contextlib
import io
import os
from pathlib import Path
from typing import Protocol

from streamer.config import LogSettings
from streamer.errors import LogError, OutputError
from streamer.log.layout import Segment, new_path, parsed, segments, streams
from streamer.log.lines import removed
from streamer.log.lock import take
from streamer.log.repair import footer_of, mend_end, tidy
from streamer.log.segment import Entry, SegmentWriter, write_all

_OPEN = 128  # files at a time: streams come and go, and a process may have so many files only
_MB = 1_000_000


class Store(Protocol):
    """Takes records from one thread. Times are seconds since 1970. All raise OSError."""

    def append(self, stream: str, entries: list[Entry], at: float) -> None:
        """All of them, or none."""

    def sync(self) -> None:
        """Returns when all that was written is on the disk."""

    def rotate(self, at: float) -> bool:
        """Seal what is large or old enough; whether there was any."""

    def seal(self, at: float) -> None:
        """Seal everything: nothing is open then. `append` may go on."""

    def is_open(self, path: Path) -> bool:
        """Whether that file is still written to. From any thread."""

    def close(self) -> None:
        """Let others write there."""


def open_store(path: Path, settings: LogSettings, session: str, at: float) -> Store:
    """Raises OutputError if nothing can be written there."""
    try:
        return PlainFile(path) if path.suffix == ".jsonl" else Folder(path, settings, session, at)
    except OSError as error:
        raise OutputError(f"{path}: the log cannot be written: {error.strerror}", "choose another path") from None
    except LogError as error:
        raise OutputError(f"the log cannot be continued: {error.message}", error.hint) from None


class PlainFile:
    """One file for all streams, for a short run: it is appended to, and has neither headers nor footers."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():  # else it may be a pipe
            mend_end(path)
        self._file: io.FileIO = path.open("ab", buffering=0)
        self._size = path.stat().st_size
        self._on_disk = path.is_file()

    def append(self, stream: str, entries: list[Entry], at: float) -> None:
        data = b"".join(entry.data + b"\n" for entry in entries)
        try:
            write_all(self._file, data)
        except OSError:
            if self._on_disk:
                self._file.truncate(self._size)
            raise
        self._size += len(data)

    def sync(self) -> None:
        if self._on_disk:
            os.fsync(self._file.fileno())

    def rotate(self, at: float) -> bool:
        return False

    def seal(self, at: float) -> None:
        pass

    def is_open(self, path: Path) -> bool:
        return True

    def close(self) -> None:
        self._file.close()


class Folder:
    """A folder of segments for each stream. What a killed run has left is repaired first."""

    def __init__(self, root: Path, settings: LogSettings, session: str, at: float) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._root, self._session = root, session
        self._segment_bytes = settings.segment_mb * _MB
        self._segment_seconds = settings.segment_seconds
        self._lock = take(root)
        self._last: dict[str, Segment] = {}
        self._hashes: dict[str, str] = {}  # of the last segment of each stream
        self._open: dict[str, SegmentWriter] = {}
        self._open_paths: set[Path] = set()
        try:
            for stream in streams(root):
                kept = tidy(root / stream, at)
                if kept:
                    self._last[stream] = kept[-1]
        except BaseException:
            self._lock.release()
            raise

    def append(self, stream: str, entries: list[Entry], at: float) -> None:
        writer = self._open.pop(stream, None) or self._begin(stream, at)
        self._open[stream] = writer  # becomes the newest
        try:
            writer.append(entries)
        finally:
            self._park_some()

    def sync(self) -> None:
        for stream, writer in list(self._open.items()):
            try:
                writer.sync()
            except FileNotFoundError:
                self._forget(stream)
                raise

    def rotate(self, at: float) -> bool:
        period = self._segment_seconds
        due = [
            stream
            for stream, writer in self._open.items()
            if writer.size >= self._segment_bytes or at // period != writer.began // period
        ]
        for stream in due:
            self._seal(stream, at)
        return bool(due)

    def seal(self, at: float) -> None:
        for stream in list(self._open):
            self._seal(stream, at)

    def is_open(self, path: Path) -> bool:
        return path in self._open_paths

    def close(self) -> None:
        self._lock.release()

    def _begin(self, stream: str, at: float) -> SegmentWriter:
        last = self._last.get(stream)
        path = new_path(self._root, stream, self._session, at, last)
        if stream not in self._hashes:
            self._hashes[stream] = _hash(path.parent.parent)
        self._open_paths.add(path)
        try:
            writer = SegmentWriter(path, stream, self._session, at, self._hashes[stream])
        except OSError:
            self._open_paths.discard(path)
            raise
        self._last[stream] = parsed(path) or Segment(path)
        return writer

    def _seal(self, stream: str, at: float) -> None:
        writer = self._open[stream]
        writer.sync()
        self._hashes[stream] = writer.seal(at)
        self._forget(stream)

    def _forget(self, stream: str) -> None:
        writer = self._open.pop(stream)
        writer.park()
        self._open_paths.discard(writer.path)

    def _park_some(self) -> None:
        for writer in list(self._open.values())[: max(len(self._open) - _OPEN, 0)]:
            writer.park()


def _hash(folder: Path) -> str:
    """Of the newest segment of a stream, that the next one must name; nothing can be said of one that is damaged."""
    for _ in range(2):  # it may be compressed, and so have another name, just when it is looked at
        found = segments(folder)
        if not found:
            gone = removed(folder)
            return gone[-1].footer.sha256 if gone else ""
        with contextlib.suppress(LogError):
            footer = footer_of(found[-1])
            return footer.sha256 if footer else ""
    return ""
