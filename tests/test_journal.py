"""The log loses nothing, whatever is done to the streams, the process or the disk meanwhile."""

import asyncio
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamer.config import LogSettings
from streamer.log.layout import find
from streamer.log.lines import raw_lines
from streamer.outputs.journal import Journal
from tests.writer import message


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def settings(path: Path, **values: Any) -> LogSettings:
    return LogSettings(str(path), **{"min_free_mb": 0.0, **values})


def logged(path: Path, stream: str) -> list[dict[str, Any]]:
    """All lines of a stream, parsed."""
    return [msgspec.json.decode(line) for segment in find(path)[stream] for line in raw_lines(segment)]


def frames(lines: list[dict[str, Any]]) -> list[int]:
    return [line["seq"] for line in lines if line["type"] == "frame"]


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[int]:
    """A disk that does not keep up: what is written into `pipe.jsonl` goes on only when this is read."""
    path = tmp_path / "pipe.jsonl"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    yield reader
    os.close(reader)


async def drained(pipe: int, closing: "asyncio.Task[None]") -> list[dict[str, Any]]:
    """All lines that come out until the log is closed."""
    data = b""
    while not closing.done():
        with contextlib.suppress(BlockingIOError):
            data += os.read(pipe, 1 << 20)
        await asyncio.sleep(0.001)
    while more := os.read(pipe, 1 << 20):
        data += more
    return [msgspec.json.decode(line) for line in data.splitlines()]


async def test_a_stream_that_is_stopped_while_the_disk_is_behind_loses_no_record(tmp_path: Path, pipe: int) -> None:
    journal = Journal(settings(tmp_path / "pipe.jsonl"))
    count = 0
    while True:
        putting = asyncio.create_task(journal.put(message(count)))
        count += 1
        await asyncio.sleep(0)
        if not putting.done():  # publishing waits for the disk
            putting.cancel()
            break
    await journal.put(message(count))
    lines = await drained(pipe, asyncio.create_task(journal.close()))
    assert frames(lines) == list(range(count + 1))


async def test_what_a_hung_disk_cannot_take_is_a_gap(tmp_path: Path, pipe: int) -> None:
    journal = Journal(settings(tmp_path / "pipe.jsonl"))
    count = 0
    while not journal.report.lost["overflow"]:
        await journal.put(message(count))
        count += 1
    for _ in range(3):
        await journal.put(message(count, skipped="superseded"))
        count += 1
    lines = await drained(pipe, asyncio.create_task(journal.close()))
    (gap,) = (line for line in lines if line["type"] == "gap")
    assert frames(lines) == list(range(gap["from"]))
    assert (gap["to"], gap["counts"], gap["reason"]) == (count - 1, {"frame": 4}, "overflow")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux to count open files")
async def test_streams_that_come_and_go_leave_no_files_open(tmp_path: Path) -> None:
    before = open_files()
    journal = Journal(settings(tmp_path / "logs"), "s1")
    for n in range(300):
        await journal.put(message(n, f"s{n % 200}"))
    while journal.report.written < 300:  # noqa: ASYNC110 - the disk tells nobody
        await asyncio.sleep(0.01)
    assert open_files() - before < 150
    await journal.close()
    for n in range(200):
        assert frames(logged(tmp_path / "logs", f"s{n}")) == ([n, n + 200] if n < 100 else [n])
    assert open_files() == before


async def test_segments_follow_each_other_and_are_compressed(tmp_path: Path) -> None:
    root = tmp_path / "logs"
    journal = Journal(settings(root, segment_mb=0.002), "s1")
    for n in range(60):
        await journal.put(message(n, skipped="superseded" if n % 3 else None))
        while n % 4 == 3 and journal.report.written <= n:  # noqa: ASYNC110 - the disk tells nobody
            await asyncio.sleep(0.005)
    await journal.close()
    found = find(root)["a"]
    assert len(found) > 3
    assert found[0].compressed
    assert frames(logged(root, "a")) == list(range(60))
    previous = ""
    for segment in found:
        first, *_, last = [msgspec.json.decode(line) for line in raw_lines(segment)]
        assert (first["type"], first.get("previous", "")) == ("segment", previous)
        previous = last["sha256"]
