"""The log: every record as a line of JSON, in the order of publishing."""

import asyncio
import errno
import io
import os
from collections import deque
from pathlib import Path

from streamer.errors import OutputError
from streamer.flow import Message

_WAITING = 4096  # records that may wait for the disk before publishing waits, too
_OPEN = 128  # files at a time: streams come and go, and a process may have so many files only


class Journal:
    """Appends records to a `.jsonl` file, or to one file a stream in a folder.

    Writing happens in a thread; `put` returns at once unless the disk is far behind. Nothing is dropped.
    """

    def __init__(self, path: Path) -> None:
        """Raises OutputError if nothing can be written there."""
        self._path = path
        self._one_file = path.suffix == ".jsonl"
        self._files: dict[Path, io.FileIO] = {}
        self._waiting: deque[Message] = deque()
        self._changed = asyncio.Condition()
        self._closing = False
        self._error: OutputError | None = None
        try:
            (path.parent if self._one_file else path).mkdir(parents=True, exist_ok=True)
            if self._one_file:
                self._file(path)
            elif not os.access(path, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            raise OutputError(f"{path}: the log cannot be written: {error.strerror}", "choose another path") from None
        self._writer = asyncio.create_task(self._write_all())

    async def put(self, message: Message) -> None:
        """Raises OutputError if an earlier record could not be written."""
        self._waiting.append(message)  # before anything is waited for: a stream that is stopped here loses nothing
        async with self._changed:
            self._changed.notify_all()
            await self._changed.wait_for(lambda: len(self._waiting) <= _WAITING or self._error)
        if self._error:
            raise self._error

    async def close(self) -> None:
        """Write what waits and close the files. Raises OutputError if the log is not complete."""
        async with self._changed:
            self._closing = True
            self._changed.notify_all()
        await self._writer
        for file in self._files.values():
            file.close()
        if self._error:
            raise self._error

    async def _write_all(self) -> None:
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self._waiting or self._closing)
                if not self._waiting:
                    return
                batch = list(self._waiting)
            try:
                await asyncio.to_thread(self._append, batch)
            except OSError as error:
                self._error = OutputError(
                    f"{self._path}: the log cannot be written: {error.strerror}", "is the disk full?"
                )
            async with self._changed:
                for _ in batch:
                    self._waiting.popleft()
                self._changed.notify_all()
                if self._error:
                    return

    def _append(self, batch: list[Message]) -> None:
        lines: dict[Path, list[bytes]] = {}
        for message in batch:
            path = self._path if self._one_file else self._path / f"{message.stream}.jsonl"
            lines.setdefault(path, []).append(message.data)
        for path, records in lines.items():
            file = self._file(path)
            rest = memoryview(b"\n".join(records) + b"\n")
            while rest:
                rest = rest[file.write(rest) :]

    def _file(self, path: Path) -> io.FileIO:
        """The open file, which becomes the newest; the one that was not written to for longest may be closed for it."""
        file = self._files.pop(path, None) or _opened(path)
        self._files[path] = file
        if len(self._files) > _OPEN:
            self._files.pop(next(iter(self._files))).close()
        return file


def _opened(path: Path) -> io.FileIO:
    file = path.open("ab+", buffering=0)
    # After a crash the last line may be torn: the next record must not be glued to it.
    if file.tell() and (file.seek(-1, os.SEEK_END), file.read())[1] != b"\n":
        file.write(b"\n")
    return file
