"""The records of a log in their own time: at any speed, from any moment on."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from streamer.errors import LogError
from streamer.log.lines import records
from streamer.log.reading import chosen
from streamer.log.select import Logged, Selection, dated, select

_TYPES = ("frame", "status", "track")
_AT_ONCE = 200  # records that are read together
_LONGEST_PAUSE = 5.0  # seconds that nothing happens, however long nothing happened then
_MOMENT = 0.005  # seconds that need not be waited for


class Player:
    """`run` publishes records when their time has come, `set` tells it what to do. Times are seconds since 1970;
    `speed` is a multiple of the original one, 0: as fast as possible.
    """

    def __init__(self, where: Path, selection: Selection, speed: float = 1.0, *, playing: bool, loop: bool) -> None:
        """Reads the beginning and the end of the log. Raises LogError if there is nothing to play."""
        self._where = where
        self._selection = msgspec.structs.replace(selection, types=selection.types or _TYPES)
        self.start, self.end, self.streams = extent(where, self._selection)
        self.position = self.start
        self.speed = speed
        self.playing = playing
        self._loop = loop
        self._sought: float | None = self.start
        self._changed = asyncio.Event()

    def set(self, *, position: float | None = None, speed: float | None = None, playing: bool | None = None) -> None:
        """What is not given stays as it is; who plays on at the end begins again."""
        if position is None and playing and not self.playing and self.position >= self.end:
            position = self.start
        if position is not None:
            self._sought = self.position = min(max(position, self.start), self.end)
        self.speed = self.speed if speed is None else speed
        self.playing = self.playing if playing is None else playing
        self._changed.set()

    async def run(self, publish: Callable[[Logged], Awaitable[None]], begin_again: Callable[[], None]) -> None:
        """For ever. `begin_again` is called before the first record, and before what comes next comes from elsewhere in
        the log.
        """
        while True:
            if self._sought is None:
                self._changed.clear()
                await self._changed.wait()
                continue
            position, self._sought = self._sought, None
            begin_again()
            await self._play(position, publish)

    async def _play(self, position: float, publish: Callable[[Logged], Awaitable[None]]) -> None:
        span = msgspec.structs.replace(self._selection.span, since=position)
        found = select(self._where, msgspec.structs.replace(self._selection, span=span))
        due, before = time.monotonic(), position
        while batch := await asyncio.to_thread(lambda: list(itertools.islice(found, _AT_ONCE))):
            for record in batch:
                pause = min(max(record.at - before, 0.0), _LONGEST_PAUSE)
                due = await self._until(due + (pause / self.speed if self.speed else 0.0))
                if self._sought is not None:
                    return
                before = self.position = record.at
                await publish(record)
        if self._loop:
            self._sought = self.start
        else:
            self.position, self.playing = self.end, False

    async def _until(self, due: float) -> float:
        """Until that time, and while it does not play. Gives the time on which the next one is counted."""
        while self._sought is None and not (self.playing and due - time.monotonic() < _MOMENT):
            self._changed.clear()
            playing, speed = self.playing, self.speed
            try:
                async with asyncio.timeout(due - time.monotonic() if playing else None):
                    await self._changed.wait()
            except TimeoutError:
                continue
            if not playing or self.speed != speed:  # what was left to wait for is of another time or speed
                due = time.monotonic()
        return due


def extent(where: Path, selection: Selection) -> tuple[float, float, list[str]]:
    """Times of the first and the last of the wanted records, and the streams they are of. Raises LogError."""
    first, last, streams = float("inf"), float("-inf"), dict[str, None]()
    for segments in chosen(where, selection.streams, selection.span).values():
        for segment in [*segments[:1], *segments[1:][-1:]]:
            for record in filter(selection.wants, dated(records(segment))):
                first, last = min(first, record.at), max(last, record.at)
                streams[record.head.stream] = None
    if not streams:
        raise LogError(f"{where}: has no such records", "try another --from, --to or --stream")
    return first, last, list(streams)
