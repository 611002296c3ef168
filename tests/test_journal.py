"""The log loses nothing, whatever is done to the streams meanwhile."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from streamer.flow import Message
from streamer.outputs.journal import Journal


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def message(n: int, stream: str = "a") -> Message:
    return Message(stream, str(n).encode())


async def test_a_stream_that_is_stopped_while_the_disk_is_behind_loses_no_record(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "log.jsonl")
    count, putting = 0, journal.put(message(0)).__await__()
    with contextlib.suppress(asyncio.CancelledError):
        while True:  # by hand, so that nothing else runs and records pile up until publishing has to wait
            try:
                next(putting)
            except StopIteration:
                count += 1
                putting = journal.put(message(count)).__await__()
            else:
                putting.throw(asyncio.CancelledError)
    await journal.put(message(count + 1))
    await journal.close()
    lines = (tmp_path / "log.jsonl").read_text().split()
    assert lines == [str(n) for n in range(count + 2)]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux to count open files")
async def test_streams_that_come_and_go_leave_no_files_open(tmp_path: Path) -> None:
    before = open_files()
    journal = Journal(tmp_path / "logs")
    for n in range(300):
        await journal.put(message(n, f"s{n % 200}"))
    while len(list((tmp_path / "logs").iterdir())) < 200:  # noqa: ASYNC110 - the disk tells nobody
        await asyncio.sleep(0.01)
    assert open_files() - before < 150
    await journal.close()
    lines = [(tmp_path / "logs" / f"s{n}.jsonl").read_text().split() for n in range(200)]
    assert lines == [[str(n), str(n + 200)] if n < 100 else [str(n)] for n in range(200)]
    assert open_files() == before
