"""The lines of a segment, compressed or not, complete or not."""

import io
from collections.abc import Iterator
from pathlib import Path

import msgspec
import zstandard

from streamer.contract import SCHEMA_VERSION, RemovedRecord
from streamer.errors import LogError, UnknownSchemaError
from streamer.log.layout import REMOVED, Segment

_BUFFER = 1 << 20


class Head(msgspec.Struct):
    """What all records tell of themselves, and frames of their place."""

    type: str
    schema: int
    stream: str = ""
    session: str = ""
    seq: int | None = None
    status: str = ""


_head = msgspec.json.Decoder(Head).decode


def raw_lines(segment: Segment, offset: int = 0) -> Iterator[bytes]:
    """All lines with their ends, from that byte on; the last one may be torn, without an end. Raises LogError if the
    segment cannot be read.
    """
    segment = segment.now()
    try:
        with segment.path.open("rb", buffering=_BUFFER) as file:
            if segment.compressed:
                unpacked = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
                unpacked.seek(offset)
                yield from io.BufferedReader(unpacked, _BUFFER)
            else:
                file.seek(offset)
                yield from file
    except zstandard.ZstdError as error:
        raise LogError(f"{segment.path}: the compressed data is damaged: {error}", "restore it from a copy") from None
    except OSError as error:
        raise LogError(f"{segment.path}: cannot be read: {error.strerror}", "look at its rights and its disk") from None


def records(segment: Segment) -> Iterator[tuple[bytes, Head]]:
    """Each record's line, without its end, and head. A torn last line is left out.

    Raises LogError, and UnknownSchemaError where a newer program wrote.
    """
    for number, line in enumerate(raw_lines(segment), 1):
        if line.endswith(b"\n"):
            yield line[:-1], head(line, segment, number)


def head(line: bytes, segment: Segment, number: int) -> Head:
    """Of the line with that number. Raises LogError and UnknownSchemaError."""
    try:
        found = _head(line)
    except msgspec.DecodeError as error:
        raise LogError(
            f"{segment.path}:{number}: is not a record: {error}", "`streamer log verify` tells all such lines"
        ) from None
    if found.schema > SCHEMA_VERSION:
        raise UnknownSchemaError(
            f"{segment.path}:{number}: has schema {found.schema}, this program reads up to {SCHEMA_VERSION}",
            "read it with a newer facestreamer",
        )
    if found.schema < 1:
        raise UnknownSchemaError(f"{segment.path}:{number}: there was never a schema {found.schema}", "")
    return found


def removed(folder: Path) -> list[RemovedRecord]:
    """What was deleted of a stream, by its folder. Raises LogError."""
    path = folder / REMOVED
    if not path.is_file():
        return []
    try:
        return [
            msgspec.json.decode(line, type=RemovedRecord) for line in raw_lines(Segment(path)) if line[-1:] == b"\n"
        ]
    except msgspec.DecodeError as error:
        raise LogError(f"{path}: is damaged: {error}", "restore it from a copy") from None
