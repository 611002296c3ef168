"""What a run that was killed has left behind is put in order before the next one writes."""

import hashlib
import os
from collections import deque
from pathlib import Path

import msgspec

from streamer.contract import FooterRecord, decode_logged, encode
from streamer.errors import LogError
from streamer.log.layout import COMPRESSED, UNFINISHED, Segment, segments, streams
from streamer.log.lines import Head, head, raw_lines
from streamer.log.lock import root_of, take
from streamer.log.segment import Tally

_BLOCK = 1 << 16
_LONGEST = 1 << 14  # bytes that a footer may have


def footer_of(segment: Segment) -> FooterRecord | None:
    """The footer of a segment; None where there is none. Raises LogError if the segment cannot be read."""
    if segment.compressed:
        last = next(iter(deque(raw_lines(segment), maxlen=1)), b"")
    else:
        try:
            with segment.path.open("rb") as file:
                file.seek(max(file.seek(0, os.SEEK_END) - _LONGEST, 0))
                last = b"".join(file.readlines()[-1:])
        except OSError as error:
            raise LogError(f"{segment.path}: cannot be read: {error.strerror}") from None
    if not last.endswith(b"\n"):
        return None
    try:
        record = decode_logged(last)
    except msgspec.DecodeError:
        return None
    return record if isinstance(record, FooterRecord) else None


def tidy(folder: Path, at: float) -> list[Segment]:
    """Repair what a killed run left in the folder of a stream; the segments that are there then. Raises OSError and
    LogError.
    """
    for part in folder.glob(f"*/*{UNFINISHED}"):
        part.unlink()
    kept = []
    for segment in segments(folder):
        if segment.compressed:
            segment.path.with_name(segment.path.name.removesuffix(COMPRESSED)).unlink(missing_ok=True)
            kept.append(segment)
        elif footer_of(segment) is not None or repair(segment, at):
            kept.append(segment)
    return kept


def tidy_all(where: Path, at: float) -> None:
    """The same for all streams of the log that a folder is, or belongs to. Raises OSError and LogError."""
    root = root_of(where)
    if root is None:
        return
    lock = take(root)
    try:
        for stream in streams(root):
            tidy(root / stream, at)
    finally:
        lock.release()


def repair(segment: Segment, at: float) -> bool:
    """Cut a half-written record off the end of a segment and write its footer. False if nothing was in it: then it is
    deleted. Lines in its middle that are no records stay, for `verify` to tell. Raises OSError and LogError.
    """
    digest, tally, size, torn = hashlib.sha256(), Tally(), 0, 0
    for number, line in enumerate(raw_lines(segment), 1):
        try:
            found = head(line, segment, number)
        except LogError:
            if not line.endswith(b"\n"):
                torn = len(line)
                break
            found = Head("", 1)
        if found.type == "footer":  # all but its end: it gets another
            break
        line = line.rstrip(b"\n") + b"\n"  # complete, all but its end
        size += len(line)
        digest.update(line)
        if found.type not in ("", "segment"):
            tally.count(found.type, found.seq if found.type == "frame" else None, found.status == "processed")
    if not size:
        segment.path.unlink()
        return False
    footer = tally.footer(segment.stream, segment.session, at, digest.hexdigest(), torn)
    with segment.path.open("rb+") as file:
        file.truncate(size)  # one more than it has where only the last line's end was missing ...
        file.seek(size - 1)
        file.write(b"\n" + encode(footer) + b"\n")  # ... which is written here in any case
        file.flush()
        os.fsync(file.fileno())
    return True


def mend_end(path: Path) -> None:
    """Cut a half-written record off the end of a plain file of records. Raises OSError."""
    with path.open("rb+") as file:
        size = end = file.seek(0, os.SEEK_END)
        tail = b""
        while end and b"\n" not in tail:
            start = max(end - _BLOCK, 0)
            file.seek(start)
            tail = file.read(end - start) + tail
            end = start
        rest = tail.rpartition(b"\n")[2]
        if not rest:
            return
        try:
            head(rest, Segment(path), 0)
        except LogError:
            file.truncate(size - len(rest))
        else:
            file.seek(size)
            file.write(b"\n")
