"""What the log costs: `python -m tests.bench.journal RECORDS.jsonl`, on records of a real run.

CPU time of handing over, writing, hashing, compressing and fsync at 200 records a second, over that of doing the same
without a log, in turns; and what an hour of one face takes on the disk.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path

import msgspec
import zstandard

from streamer.config import LogSettings
from streamer.contract import FrameRecord, decode
from streamer.flow import Message
from streamer.log.upkeep import LEVEL
from streamer.outputs.journal import Journal

STREAMS = 8
FPS = 25


def messages(lines: list[bytes]) -> list[Message]:
    made = []
    for n, line in enumerate(lines):
        record = decode(line)
        assert isinstance(record, FrameRecord)
        made.append(Message(f"cam{n % STREAMS}", line, "frame", record.seq))
    return made


async def cost(records: list[Message], rate: float, seconds: float, journal: Journal | None) -> float:
    """CPU seconds a second of all threads while so many records a second are published."""
    start, cpu, done = time.monotonic(), time.process_time(), 0
    while (elapsed := time.monotonic() - start) < seconds:
        while done < elapsed * rate:
            if journal:
                await journal.put(records[done % len(records)])
            done += 1
        await asyncio.sleep(1 / rate)
    if journal:
        await journal.close()
    return (time.process_time() - cpu) / seconds


async def measure(records: list[Message], arguments: argparse.Namespace) -> None:
    with_log, without = list[float](), list[float]()
    for _ in range(arguments.rounds):
        without.append(await cost(records, arguments.rate, arguments.seconds, None))
        with tempfile.TemporaryDirectory() as folder:
            # So small segments that they are compressed, too, as often as they are written.
            settings = LogSettings(folder, segment_mb=0.2, min_free_mb=0)
            with_log.append(await cost(records, arguments.rate, arguments.seconds, Journal(settings, "bench")))
    share = statistics.median(with_log) - statistics.median(without)
    print(f"{arguments.rate:g} records a second: {share:.1%} of a core")


def sizes(lines: list[bytes]) -> None:
    faces = sum(len(msgspec.json.decode(line)["faces"]) for line in lines)
    plain = b"".join(line + b"\n" for line in lines)
    packed = zstandard.ZstdCompressor(LEVEL).compress(plain)
    hour = FPS * 3600 / faces / 1e6
    print(
        f"{len(lines)} records with {faces} faces, {len(plain) / len(lines):.0f} bytes each, "
        f"{len(plain) / len(packed):.1f} times smaller compressed: "
        f"{len(packed) * hour:.1f} MB an hour of one face at {FPS} frames a second"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", type=Path)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    lines = [line for line in arguments.records.read_bytes().splitlines() if b'"status":"processed"' in line]
    sizes(lines)
    asyncio.run(measure(messages(lines), arguments))


if __name__ == "__main__":
    main()
