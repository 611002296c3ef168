"""Which records of a log are wanted: by time, type and the values in them."""

import heapq
import operator
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from streamer.errors import ConfigError
from streamer.log.layout import Segment
from streamer.log.lines import Head, records
from streamer.log.reading import chosen
from streamer.log.times import Span

Where = Callable[[Any], bool]
_CONDITION = re.compile(r"([\w.]+)\s*(?:(==|!=|>=|<=|=|>|<)\s*(.*))?", re.DOTALL)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


class _Time(msgspec.Struct):
    captured: str = ""
    clock: str = ""


class Logged(msgspec.Struct, frozen=True, eq=False):
    """A record's line, without its end, its head, and its time in seconds since 1970."""

    line: bytes
    head: Head
    at: float


class _Times(msgspec.Struct):
    """Where each type of record has its time."""

    time: _Time | None = None
    at: str = ""
    since: str = ""
    last: _Time | None = None


_times = msgspec.json.Decoder(_Times).decode


class Selection(msgspec.Struct, frozen=True):
    """Of `streams` and `types` none: all of them, but not what is only the frame of the log, `segment` and `footer`."""

    span: Span = Span()
    streams: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    where: tuple[Where, ...] = ()

    def wants(self, record: Logged) -> bool:
        if self.streams and record.head.stream not in self.streams:
            return False
        if record.head.type not in self.types if self.types else record.head.type in ("segment", "footer"):
            return False
        if record.at not in self.span:
            return False
        if self.where:
            values = msgspec.json.decode(record.line)
            return all(holds(values) for holds in self.where)
        return True


def select(where: Path, selection: Selection) -> Iterator[Logged]:
    """The wanted records of all streams, merged in the order of time. Raises LogError."""
    every = (_of_one(segments, selection) for segments in chosen(where, selection.streams, selection.span).values())
    return heapq.merge(*every, key=lambda record: record.at)


def _of_one(segments: list[Segment], selection: Selection) -> Iterator[Logged]:
    return filter(selection.wants, dated(record for segment in segments for record in records(segment)))


def dated(found: Iterable[tuple[bytes, Head]]) -> Iterator[Logged]:
    """Records of one stream with their times. Where frames are not dated by the host's clock, what lies between them
    has the time of the frame before, or at the beginning of the one behind.
    """
    before: list[tuple[bytes, Head]] = []  # what there is until the first frame tells of its clock
    last, by_host = None, True
    for line, head in found:
        if head.type == "frame":
            times = _times(line)
            last, by_host = _seconds(times), times.time is None or times.time.clock == "host"
            yield from (Logged(*each, _own(each[0], last, by_host)) for each in before)
            before = []
            yield Logged(line, head, last)
        elif last is None:
            before.append((line, head))
        else:
            yield Logged(line, head, _own(line, last, by_host))
    yield from (Logged(*each, _own(each[0], 0.0, by_host=True)) for each in before)


def _own(line: bytes, of_frame: float, by_host: bool) -> float:
    return (_seconds(_times(line)) if by_host else 0.0) or of_frame


def _seconds(found: _Times) -> float:
    text = found.at or found.since or (found.time and found.time.captured) or (found.last and found.last.captured)
    return datetime.fromisoformat(text).timestamp() if text else 0.0


def condition(text: str) -> Where:
    """`faces.age >= 30`, `status=skipped`, `faces.emotions.happy>0.5`, `reason`: of a list, any of its items; without a
    comparison, whether there is such a value. Raises ConfigError.
    """
    match = _CONDITION.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"{text!r}: is no condition", "such as 'faces.age>=30' or 'status=skipped'")
    keys, compare = match[1].split("."), _COMPARE.get(match[2] or "")
    if compare is None:
        return lambda record: any(value not in (None, "", [], {}) for value in _values(record, keys))
    wanted = _literal(match[3])
    return lambda record: any(_holds(compare, value, wanted) for value in _values(record, keys))


def _literal(text: str) -> Any:
    """Numbers, true, false and quoted strings as in JSON; anything else is a string."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _values(value: Any, keys: list[str]) -> Iterator[Any]:
    if isinstance(value, list):
        for item in value:
            yield from _values(item, keys)
        if not keys and not value:
            yield value
    elif not keys:
        yield value
    elif isinstance(value, dict) and keys[0] in value:
        yield from _values(value[keys[0]], keys[1:])


def _holds(compare: Callable[[Any, Any], bool], value: Any, wanted: Any) -> bool:
    try:
        return compare(value, wanted)
    except TypeError:  # a number and a text have no order
        return False
