"""The log: every record, in the order of publishing, or else a record of what is missing.

Publishing hands records over and goes on; a thread of its own writes them, many at a time.
"""

import asyncio
import contextlib
import errno
import logging
import shutil
import threading
import time
from collections import Counter, deque
from typing import get_args

from streamer.config import LogSettings
from streamer.errors import OutputError
from streamer.flow import Message
from streamer.log.gaps import Gap, Reason
from streamer.log.segment import Entry
from streamer.log.store import Store, open_store
from streamer.log.upkeep import Upkeep

_log = logging.getLogger(__name__)
_GATHER = 0.05  # seconds in which records gather to be written together: waking up for each would cost more
_TICK = 0.5  # seconds between two looks at the clock and the disk when there are no records
_MOST_WAITING = 16 << 20  # bytes that may wait for the disk
_PATIENCE = 2.0  # seconds that publishing waits for a disk that is behind, before records are passed over
_LAST_WORDS = 10.0  # seconds that the end of the run waits for a disk that is behind
_MB = 1_000_000
_RETRY = 2.0  # seconds between two tries to record again
_AGAIN = 1.1  # times the floor must be free before that
_VERIFY = "`streamer log verify` tells what is missing"
_FULL = (errno.ENOSPC, errno.EDQUOT)


class JournalReport:
    """How recording goes; changes while it does. `durable` is the last `seq` of each stream that is on the disk."""

    def __init__(self) -> None:
        self.written = 0
        self.written_bytes = 0
        self.waiting = 0
        self.waiting_bytes = 0
        self.lost: Counter[str] = Counter()  # records, by reason
        self.paused: Reason | None = None
        self.durable: dict[str, int] = {}


class Journal:
    """Appends records to the segments of each stream in a folder, or to one `.jsonl` file.

    `put` returns at once unless the disk is far behind. What cannot be written is counted, said, and recorded as a gap
    as soon as possible; the analysis goes on.
    """

    name = "log"

    def __init__(self, settings: LogSettings, session: str = "") -> None:
        """Raises OutputError if nothing can be written there."""
        path = settings.file()
        self.report = JournalReport()
        self._settings = settings
        self._path = path
        self._session = session
        self._loop = asyncio.get_running_loop()
        self._store: Store = open_store(path, settings, session, time.time())
        self._upkeep = Upkeep(path, settings, self._store.is_open) if path.is_dir() else None
        self._lock = threading.Lock()
        self._queue: deque[Entry | Gap] = deque()
        self._room = asyncio.Event()
        self._stuck = False  # the disk was behind for longer than patience lasts
        self._passed_over: dict[str, Gap] = {}  # because of that, since the last record of that stream
        self._unwritten: dict[str, Gap] = {}  # because the disk is full or failing
        self._why = ""  # recording is or was paused
        self._written_seq: dict[str, int] = {}
        self._wake, self._closing = threading.Event(), threading.Event()
        self._synced_at = self._tried_at = time.monotonic()
        self._failure = "the disk does not answer"  # until the writer has come to its end
        self._writer = threading.Thread(target=self._write_all, name="journal", daemon=True)
        self._writer.start()

    async def put(self, message: Message) -> None:
        """Taken at once: a stream that is stopped while this waits loses nothing."""
        self._take_in(_entry(message))
        if self._full and not self._stuck:
            self._room.clear()
            try:
                async with asyncio.timeout(_PATIENCE):
                    while self._full:
                        await self._room.wait()
                        self._room.clear()
            except TimeoutError:
                self._stuck = True
                _log.error("%s: the disk does not keep up: records are passed over until it does", self._path)

    def figures(self) -> dict[str, float]:
        report = self.report
        return {
            "records_written_total": report.written,
            "bytes_written_total": report.written_bytes,
            "records_waiting": report.waiting,
            "bytes_waiting": report.waiting_bytes,
            "paused": float(report.paused is not None),
            **{f"records_lost_{reason.lower()}_total": report.lost[reason] for reason in get_args(Reason)},
        }

    @property
    def _full(self) -> bool:
        return self.report.waiting_bytes > _MOST_WAITING

    def _take_in(self, entry: Entry) -> None:
        now = time.time()
        if self._stuck and self._full:
            gap = self._passed_over.setdefault(entry.stream, Gap(entry.stream, "overflow", now))
            gap.add(entry, now)
            self.report.lost["overflow"] += 1
            return
        if self._stuck:
            self._stuck = False
            _log.warning("%s: the disk keeps up again", self._path)
        with self._lock:
            if entry.stream in self._passed_over:
                self._queue.append(self._passed_over.pop(entry.stream))
            self._queue.append(entry)
            self.report.waiting += 1
            self.report.waiting_bytes += len(entry.data)
        if not self._wake.is_set():
            self._wake.set()

    async def close(self) -> None:
        """Write what waits. Raises OutputError if the last records of the run could not be written."""
        with self._lock:
            self._queue.extend(self._passed_over.values())
        self._closing.set()
        self._wake.set()
        await asyncio.to_thread(self._writer.join, _LAST_WORDS)
        if self._upkeep is not None:
            await asyncio.to_thread(self._upkeep.close)
        if self._failure:
            raise OutputError(f"{self._path}: the end of the log is not written: {self._failure}", _VERIFY)

    # From here on: in the thread.

    def _write_all(self) -> None:
        while not self._closing.is_set():
            if self._wake.wait(_TICK):
                self._closing.wait(_GATHER)
                self._wake.clear()
            self._write(self._take())
            self._maintain()
        self._write(self._take())
        self._finish()

    def _take(self) -> list[Entry | Gap]:
        with self._lock:
            batch, self._queue = list(self._queue), deque()
        return batch

    def _write(self, batch: list[Entry | Gap]) -> None:
        if not batch:
            return
        by_stream: dict[str, list[Entry | Gap]] = {}
        for item in batch:
            by_stream.setdefault(item.stream, []).append(item)
        may = self._may_write(sum(len(item.data) for item in batch if isinstance(item, Entry)))
        for stream, items in by_stream.items():
            if may:
                self._append(stream, items)
            else:
                self._lose(stream, items)
        with self._lock:
            entries = [item for item in batch if isinstance(item, Entry)]
            self.report.waiting -= len(entries)
            self.report.waiting_bytes -= sum(len(entry.data) for entry in entries)
        if not self._full:
            with contextlib.suppress(RuntimeError):  # the loop is closed when a disk that hung comes back at last
                self._loop.call_soon_threadsafe(self._room.set)

    def _append(self, stream: str, items: list[Entry | Gap]) -> None:
        """Write the records of one stream, behind the record of what was missed before them."""
        gap = self._unwritten.get(stream)
        entries = [i.entry(self._session) if isinstance(i, Gap) else i for i in ([gap, *items] if gap else items)]
        try:
            self._store.append(stream, entries, time.time())
        except OSError as error:
            self._failed(error)
            self._lose(stream, items)
            return
        self._unwritten.pop(stream, None)
        self.report.written += len(items)
        self.report.written_bytes += sum(len(entry.data) + 1 for entry in entries)
        for entry in reversed(entries):
            if entry.seq is not None:
                self._written_seq[stream] = entry.seq
                break

    def _lose(self, stream: str, items: list[Entry | Gap]) -> None:
        now, reason = time.time(), self.report.paused or "writeFailed"
        gap = self._unwritten.setdefault(stream, Gap(stream, reason, now))
        for item in items:
            gap.add(item, now)
        self.report.lost[reason] += sum(isinstance(item, Entry) for item in items)

    def _may_write(self, size: int) -> bool:
        """Whether there is, or is again, room for so many bytes."""
        floor = self._settings.min_free_mb * _MB
        try:
            free = shutil.disk_usage(self._path if self._path.exists() else self._path.parent).free - size
        except OSError as error:
            self._failed(error)
            return False
        if self.report.paused is None:
            if not floor or free >= floor:
                return True
            self._pause("diskFull", f"less than {self._settings.min_free_mb:g} MB are free")
        elif free >= floor * _AGAIN and time.monotonic() - self._tried_at >= _RETRY:
            self._tried_at = time.monotonic()
            return self._resume()
        return False

    def _failed(self, error: OSError) -> None:
        self._pause("diskFull" if error.errno in _FULL else "writeFailed", error.strerror or str(error))

    def _pause(self, reason: Reason, why: str) -> None:
        self._tried_at = time.monotonic()
        if self.report.paused is None:
            self.report.paused, self._why = reason, why
            _log.error("%s: recording is paused: %s. The analysis goes on; the gap will be recorded", self._path, why)
            with contextlib.suppress(OSError):  # complete segments can be compressed, which makes room
                self._store.seal(time.time())
            self._tend()

    def _resume(self) -> bool:
        """Go on, if the gaps can be recorded now."""
        missing = sum(gap.records for gap in self._unwritten.values())
        try:
            self._record_gaps()
        except OSError:
            return False
        self.report.paused = None
        _log.warning("%s: recording goes on; %d records are missing", self._path, missing)
        return True

    def _record_gaps(self) -> None:
        for stream, gap in list(self._unwritten.items()):
            self._store.append(stream, [gap.entry(self._session)], time.time())
            del self._unwritten[stream]

    def _maintain(self) -> None:
        now = time.monotonic()
        if self.report.paused:
            self._may_write(0)
            return
        try:
            if self._store.rotate(time.time()):
                self._tend()
            fsync = self._settings.fsync
            if fsync == "always" or (fsync == "interval" and now - self._synced_at >= self._settings.fsync_interval):
                self._store.sync()
                self._synced_at = now
            if fsync == "never" or self._synced_at == now:
                self.report.durable = dict(self._written_seq)
        except OSError as error:
            self._failed(error)

    def _tend(self) -> None:
        if self._upkeep is not None:
            self._upkeep.tend()

    def _finish(self) -> None:
        self._failure = self._why if self._unwritten else ""
        try:
            self._record_gaps()  # what the floor keeps free is for this
            self._store.sync()
            self._store.seal(time.time())
        except OSError as error:
            self._failure = error.strerror or str(error)
        self._store.close()


def _entry(message: Message) -> Entry:
    seq = message.seq if message.is_frame else None
    return Entry(message.stream, message.data, message.kind, seq, not message.passed_over)
