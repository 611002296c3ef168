"""Records of a log one after the other, decoded only as far as somebody needs them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from streamer.contract import SCHEMA_VERSION
from streamer.errors import LogError
from streamer.log.layout import Segment, find
from streamer.log.lines import head, raw_lines
from streamer.log.times import Span

_HOUR, _DAY = 3600.0, 86_400.0
_LOOK_AT = 50  # lines at the beginning of a segment, to see by which clock its frames are dated
KNOWN = ("frame", "status", "track", "gap", "segment", "footer", "removed")


class Dated(Protocol):
    """What every decoded record has."""

    schema: int
    stream: str

    def when(self) -> float | None:
        """Seconds since 1970, where it tells."""


T = TypeVar("T", bound=Dated)


def decoded(segment: Segment, decode: Callable[[bytes], T]) -> Iterator[tuple[bytes, T]]:
    """Each record's line, without its end, and what `decode` makes of it. Torn last lines and records of types that
    this program does not know, where they cannot be decoded, are left out.

    Raises LogError, and UnknownSchemaError where a newer program wrote.
    """
    for number, line in enumerate(raw_lines(segment), 1):
        if not line.endswith(b"\n"):
            continue
        try:
            record = decode(line)
        except msgspec.DecodeError as error:
            if head(line, segment, number).type in KNOWN:
                raise LogError(
                    f"{segment.path}:{number}: is not a record: {error}", "`streamer log verify` tells all such lines"
                ) from None
            continue
        if record.schema != SCHEMA_VERSION:
            head(line, segment, number)
        yield line[:-1], record


def selected(
    found: dict[str, list[Segment]], wanted: tuple[str, ...], span: Span, decode: Callable[[bytes], T]
) -> Iterator[tuple[bytes, T]]:
    """Of those segments, the records of the streams `wanted`, or of all, and of that time; as by `decoded`.

    Raises LogError, also if a plain file has nothing of a stream that is wanted, and UnknownSchemaError.
    """
    limited, met = span.limited, set[str]()
    for segment in (segment for segments in found.values() for segment in segments):
        for line, record in decoded(segment, decode):
            if wanted:
                met.add(record.stream)
                if record.stream not in wanted:
                    continue
            if limited and (at := record.when()) is not None and at not in span:
                continue
            yield line, record
    unknown = [name for name in wanted if name not in met]
    if unknown and "" in found:
        raise LogError(f"the log has no stream {unknown[0]!r}", f"streams: {', '.join(sorted(met))}")


def chosen(where: Path, wanted: tuple[str, ...], span: Span) -> dict[str, list[Segment]]:
    """As `layout.find`, without the segments that hold nothing of that time for certain. Raises LogError."""
    found = find(where, wanted)
    if span.limited:
        found = {name: _of_time(segments, span) for name, segments in found.items()}
    return found


def _of_time(segments: list[Segment], span: Span) -> list[Segment]:
    """Frames are dated by the host's clock, the camera's, which is believed if it is less than a day off, or the
    file's, which may be of any time.
    """
    kept = []
    for n, segment in enumerate(segments):
        if segment.began is not None:
            began = segment.began.timestamp()
            next_one = segments[n + 1].began if n + 1 < len(segments) else None
            off = max(began - span.until, span.since - next_one.timestamp() if next_one else 0.0)
            if off > _HOUR and off > _margin(segment):
                continue
        kept.append(segment)
    return kept


def size_of(segment: Segment) -> int:
    """Bytes that it takes on the disk; 0 where it was deleted meanwhile."""
    try:
        return segment.now().path.stat().st_size
    except OSError:
        return 0


class _Time(msgspec.Struct, frozen=True):
    clock: str = ""


class _Clocked(msgspec.Struct, frozen=True):
    time: _Time = _Time()


_clocked = msgspec.json.Decoder(_Clocked).decode


def _margin(segment: Segment) -> float:
    """How many seconds the frames of a segment may be off the times at which it was written."""
    for line, _ in zip(raw_lines(segment), range(_LOOK_AT), strict=False):
        try:
            clock = _clocked(line).time.clock
        except msgspec.DecodeError:
            continue
        if clock:
            return {"host": _HOUR, "camera": _DAY + _HOUR}.get(clock, float("inf"))
    return float("inf")
