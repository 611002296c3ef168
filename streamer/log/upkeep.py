"""What is done to complete segments in the background: compressing, and deleting when their time is over."""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec
import zstandard

from streamer.config import LogSettings
from streamer.contract import SCHEMA_VERSION, FooterRecord, RemovedRecord, encode
from streamer.errors import LogError
from streamer.log.layout import COMPRESSED, REMOVED, UNFINISHED, Segment, remove_empty_day, segments, streams
from streamer.log.repair import footer_of, mend_end
from streamer.records import rfc3339

_log = logging.getLogger(__name__)
LEVEL = 6
_NICE = 10
_EVERY = 600.0  # seconds between two looks at the age of segments
_LONGEST_CLOSE = 5.0  # seconds
_DAY = 86_400.0
_GB = 1e9


def compress(path: Path) -> None:
    """Into a file of the same name with `.zst`, which takes its place at once and whole. Raises OSError."""
    part, whole = path.with_suffix(UNFINISHED), path.with_name(path.name + COMPRESSED)
    try:
        with path.open("rb") as source, part.open("wb") as target:
            status = path.stat()
            zstandard.ZstdCompressor(LEVEL, write_checksum=True).copy_stream(source, target, size=status.st_size)
            target.flush()
            os.fsync(target.fileno())
        os.utime(part, ns=(status.st_atime_ns, status.st_mtime_ns))
        part.replace(whole)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    path.unlink()


class Aged(msgspec.Struct, frozen=True):
    """A complete segment, when it ended (seconds since 1970), and the bytes that it takes."""

    segment: Segment
    ended: float
    size: int


def aged(root: Path) -> list[Aged]:
    """All segments of a log, oldest first. Raises OSError."""
    found = []
    for name in streams(root):
        for segment in segments(root / name):
            status = segment.path.stat()
            began = segment.began.timestamp() if segment.began else 0.0
            found.append(Aged(segment, max(status.st_mtime, began), status.st_size))
    return sorted(found, key=lambda each: each.ended)


def expired(found: list[Aged], settings: LogSettings, at: float) -> list[tuple[Segment, Literal["age", "size"]]]:
    """Which of them, oldest first, must go, and why."""
    gone: list[tuple[Segment, Literal["age", "size"]]] = []
    total = sum(each.size for each in found)
    for each in found:
        if settings.keep_days and at - each.ended > settings.keep_days * _DAY:
            gone.append((each.segment, "age"))
        elif settings.keep_gb and total > settings.keep_gb * _GB:
            gone.append((each.segment, "size"))
        else:
            break
        total -= each.size
    return gone


def remove(segment: Segment, reason: Literal["age", "size"], at: float) -> None:
    """Delete a segment, and note in its stream's `removed.jsonl` what it held. Raises OSError."""
    try:
        footer = footer_of(segment)
    except LogError:
        footer = None
    if footer is None:  # damaged: what is known is that it was there
        footer = FooterRecord(SCHEMA_VERSION, segment.stream, segment.session, rfc3339(at), {}, 0, 0, "")
    folder = segment.path.parent.parent
    name = segment.path.relative_to(folder).as_posix()
    record = RemovedRecord(SCHEMA_VERSION, segment.stream, rfc3339(at), name, reason, footer)
    noted = folder / REMOVED
    if noted.is_file():
        mend_end(noted)
    with noted.open("ab") as file:
        file.write(encode(record) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    segment.path.unlink()
    remove_empty_day(segment.path.parent, at)


class Upkeep:
    """Compresses and removes complete segments in a thread, whenever it is told that there may be some."""

    def __init__(self, root: Path, settings: LogSettings, is_open: Callable[[Path], bool]) -> None:
        self._root, self._settings, self._is_open = root, settings, is_open
        self._news, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="log-upkeep", daemon=True)
        self._thread.start()

    def tend(self) -> None:
        """There may be something to do."""
        self._news.set()

    def close(self) -> None:
        """Returns when what was begun is done; what was not, the next run does."""
        self._closing.set()
        self._news.set()
        self._thread.join(_LONGEST_CLOSE)

    def _run(self) -> None:
        with contextlib.suppress(AttributeError, OSError):  # less important than the analysis, where threads can be
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        while not self._closing.is_set():
            try:
                self._tend(time.time())
            except (OSError, LogError) as error:
                _log.warning("%s: old segments could not be compressed or removed: %s", self._root, error)
            self._news.wait(_EVERY)
            self._news.clear()

    def _tend(self, at: float) -> None:
        found = [each for each in aged(self._root) if not self._is_open(each.segment.path)]
        for segment, reason in expired(found, self._settings, at):
            remove(segment, reason, at)
        for each in found:
            segment = each.segment
            if self._closing.is_set():
                return
            if self._settings.compress and not segment.compressed and segment.path.exists():
                compress(segment.path)
