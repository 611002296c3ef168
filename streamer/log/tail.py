"""The newest records of a log, and those that are being written."""

import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from streamer.log.layout import COMPRESSED, Segment, find
from streamer.log.lines import Head, head, raw_lines
from streamer.log.select import Logged, Selection, dated

_LOOK = 0.2  # seconds between two looks at files that are being written


def tail(where: Path, selection: Selection, number: int, *, follow: bool) -> Iterator[Logged]:
    """The last `number` wanted records of each stream, in the order of time; and then, to `follow`, all that are
    written, for ever. Raises LogError.
    """
    readers, newest = dict[str, _Reader](), list[Logged]()
    for name, segments in find(where, selection.streams).items():
        readers[name] = reader = _Reader()
        wanted = filter(selection.wants, reader.read(segments[_start(segments, selection, number) :]))
        newest += deque(wanted, maxlen=number)
    yield from sorted(newest, key=lambda record: record.at)
    while follow:
        time.sleep(_LOOK)
        for name, segments in find(where, selection.streams).items():
            yield from filter(selection.wants, readers.setdefault(name, _Reader()).read(segments))


def _start(segments: list[Segment], selection: Selection, number: int) -> int:
    """The place of the segment from which on there are so many wanted records."""
    count = 0
    for place in range(len(segments) - 1, -1, -1):
        count += sum(map(selection.wants, _Reader().read([segments[place]])))
        if count >= number:
            return place
    return 0


class _Reader:
    """How far the segments of a stream have been read."""

    def __init__(self) -> None:
        self._name = ""
        self._offset = 0  # in the segment of that name: bytes of its complete lines

    def read(self, segments: list[Segment]) -> Iterator[Logged]:
        """What is in them behind that; all of them if none of them has been read."""
        return dated(self._read(segments))

    def _read(self, segments: list[Segment]) -> Iterator[tuple[bytes, Head]]:
        names = [segment.path.name.removesuffix(COMPRESSED) for segment in segments]
        first = names.index(self._name) if self._name in names else 0
        for name, segment in zip(names[first:], segments[first:], strict=True):
            if name != self._name:
                self._name, self._offset = name, 0
            yield from self._rest(segment)

    def _rest(self, segment: Segment) -> Iterator[tuple[bytes, Head]]:
        for number, line in enumerate(raw_lines(segment, self._offset), 1):
            if line.endswith(b"\n"):
                self._offset += len(line)
                yield line[:-1], head(line, segment, number)
