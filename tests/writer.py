"""Writes into a log until it is killed: `python -m tests.writer LOG`. Each line on stdin begins another such run.

It prints the process number of each, and then, whenever more is safe on the disk, `STREAM SEQ SESSION`.
"""

import asyncio
import os
import sys
from pathlib import Path

from streamer.config import LogSettings
from streamer.contract import encode
from streamer.face import Frame, FrameResult, no_pixels
from streamer.flow import Message, frame_message
from streamer.outputs.journal import Journal
from streamer.records import frame_record, status_record

STREAMS = ("door", "hall", "yard")


def message(seq: int, stream: str = "a", session: str = "s1", skipped: str | None = None) -> Message:
    frame = Frame(seq, seq, seq / 25, 1_790_000_000 + seq / 25, 0.0, 640, 480, no_pixels, skipped=skipped)
    result = FrameResult(frame, (), {} if skipped else {"detect": 4.2}, 0, 0.0)
    return frame_message(stream, encode(frame_record(result, stream, session)), result)


def ended(stream: str, session: str) -> Message:
    return Message(stream, encode(status_record(stream, session, 1_790_000_000, "ended")))


async def write(root: Path, session: str) -> None:
    settings = LogSettings(str(root), segment_mb=0.1, min_free_mb=0, fsync_interval=0.02)
    journal, told, seq = Journal(settings, session), dict[str, int](), 0
    while True:
        for stream in STREAMS:
            await journal.put(message(seq, stream, session))
        seq += 1
        if seq % 10 == 0:
            await asyncio.sleep(0.001)
        durable = journal.report.durable
        if durable != told:
            told = dict(durable)
            print("\n".join(f"{stream} {last} {session}" for stream, last in told.items()), flush=True)


def main() -> None:
    for number, _ in enumerate(sys.stdin):
        child = os.fork()
        if not child:
            asyncio.run(write(Path(sys.argv[1]), f"s{number}"))
        print(child, flush=True)
        os.waitpid(child, 0)
        print("over", flush=True)


if __name__ == "__main__":
    main()
