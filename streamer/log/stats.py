"""What a log tells of each stream, added up record by record in memory that does not grow with the log."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

import msgspec

from streamer.log.figures import Figures, Outage
from streamer.log.reading import chosen, selected, size_of
from streamer.log.series import Interval, Timeline
from streamer.log.times import Span

_LONGEST_HOLD = 1.0  # seconds for which at most the faces of a frame are taken to be there
_LONE = 0.04  # seconds that a frame stands for which has no other beside it
_GONE = 600.0  # seconds after which a track that is not seen is over
_LOOK_EVERY = 4096  # frames


class _Loose(msgspec.Struct, rename="camel", gc=False):
    """Only what is needed, and nothing is asked for: settings may leave out whatever tells of people."""


class _Time(_Loose):
    captured: datetime
    age_ms: float = 0.0
    jump_ms: float = 0.0


class _Gender(_Loose):
    value: str


class _Emotions(_Loose):
    angry: float
    disgust: float
    fear: float
    happy: float
    sad: float
    surprise: float
    neutral: float


class _Doubt(_Loose):
    value: str


class _Face(_Loose):
    track_id: int | None = None
    age: float | None = None
    gender: _Gender | None = None
    emotions: _Emotions | None = None
    not_assessed: tuple[_Doubt, ...] = ()


class Line(_Loose):
    """A record of any type."""

    type: str
    schema: int
    stream: str = ""
    session: str = ""
    seq: int = -1
    status: str = ""
    reason: str = ""
    time: _Time | None = None
    faces: list[_Face] = []
    timings: dict[str, float] = {}
    at: datetime | None = None
    state: str = ""
    since: datetime | None = None
    until: datetime | None = None
    counts: dict[str, int] = {}

    def when(self) -> float | None:
        """Seconds since 1970."""
        at = self.time.captured if self.time else self.at or self.until
        return at.timestamp() if at else None


decode_line = msgspec.json.Decoder(Line).decode
_values = msgspec.structs.astuple


class _Track:
    """Somebody who may still be there."""

    __slots__ = ("age", "first", "gender", "last")

    def __init__(self, at: float) -> None:
        self.first = self.last = at
        self.age: float | None = None
        self.gender: str | None = None


class _Faces:
    """The faces of a processed frame, until it is known for how long they were there."""

    __slots__ = ("at", "count", "emotions", "interval", "judged")

    def __init__(self, at: float, interval: Interval, count: int) -> None:
        self.at, self.interval, self.count = at, interval, count
        self.judged = 0
        self.emotions: Iterable[float] = ()


class StreamStats:
    """Figures and time line of one stream. A run is a row of frames between which nothing happened."""

    def __init__(self) -> None:
        self.figures = Figures()
        self.timeline = Timeline()
        self._session = ""
        self._seq = -1
        self._at = 0.0  # of the last frame
        self._running = False
        self._held: _Faces | None = None
        self._hold = _LONE
        self._tracks: dict[int, _Track] = {}
        self._outage: tuple[Outage, float] | None = None  # and since when

    def add(self, record: Line, size: int) -> None:
        """A record whose line has `size` bytes."""
        if not record.session:
            return
        figures = self.figures
        figures.record_bytes += size
        if record.session != self._session:
            self.finish()
            self._session = record.session
            figures.sessions.add(record.session)
        if record.type == "frame" and record.time is not None:
            self._frame(record, record.time)
        elif record.type == "status":
            self._status(record)
        elif record.type == "gap":
            self._gap(record)
        elif record.type == "footer" and record.at is not None:
            self._count_outage(record.at.timestamp())

    def finish(self) -> None:
        """The end of a session, or of the log."""
        self._stop()
        for track in self._tracks.values():
            self._over(track)
        self._tracks.clear()
        self._outage = None

    def _frame(self, record: Line, time: _Time) -> None:
        figures, at = self.figures, time.captured.timestamp()
        step = at - self._at
        if self._running and (record.seq != self._seq + 1 or step < 0 or time.jump_ms):
            self._stop()
        interval = self.timeline.at(at)
        interval.frames += 1
        processed = record.status == "processed"
        if self._running:
            figures.seconds += step
            figures.intervals += 1
            figures.analysed_intervals += processed
            interval.seconds += step
            interval.intervals += 1
        self._running, self._seq, self._at = True, record.seq, at
        figures.first = at if figures.first is None else min(figures.first, at)
        figures.last = at if figures.last is None else max(figures.last, at)
        if processed:
            self._processed(record, time.age_ms, at, interval)
        else:
            figures.skipped[record.reason] += 1
            interval.skipped[record.reason] = interval.skipped.get(record.reason, 0) + 1

    def _processed(self, record: Line, age: float, at: float, interval: Interval) -> None:
        figures, faces = self.figures, record.faces
        figures.processed += 1
        figures.age.add(age)
        for stage, ms in record.timings.items():
            known = figures.timings.get(stage)
            if known is None:
                known = figures.timings[stage] = [0, 0.0]
            known[0] += 1
            known[1] += ms
        interval.processed += 1
        interval.age += age
        interval.oldest = max(interval.oldest, age)
        if self._held is not None:
            self._hold = min(at - self._held.at, _LONGEST_HOLD)
            self._let_go()
        self._held = held = _Faces(at, interval, len(faces))
        if faces:
            figures.with_faces += 1
            figures.faces += len(faces)
            figures.most_faces = max(figures.most_faces, len(faces))
            interval.faces += len(faces)
            for face in faces:
                self._face(face, held)
        if figures.processed % _LOOK_EVERY == 0:
            self._end_tracks(at)

    def _face(self, face: _Face, held: _Faces) -> None:
        doubts = [doubt.value for doubt in face.not_assessed]
        if face.emotions is not None and "emotion" not in doubts:
            shares = _values(face.emotions)
            held.emotions = [a + b for a, b in zip(held.emotions, shares, strict=True)] if held.judged else shares
            held.judged += 1
        if face.track_id is None:
            return
        track = self._tracks.get(face.track_id)
        if track is None:
            track = self._tracks[face.track_id] = _Track(held.at)
        track.last = held.at
        if face.age is not None and "age" not in doubts:
            track.age = face.age
        if face.gender is not None and "gender" not in doubts:
            track.gender = face.gender.value

    def _stop(self) -> None:
        """The end of a run: its last faces are taken to be there for as long as those before them."""
        self._let_go()
        self._held, self._running, self._hold = None, False, _LONE

    def _let_go(self) -> None:
        held = self._held
        if held is None or not held.count:
            return
        weight, interval = self._hold, held.interval
        self.figures.face_seconds += weight * held.count
        if held.judged:
            interval.weight += weight * held.judged
            for n, share in enumerate(held.emotions):
                self.figures.emotions[n] += weight * share
                interval.emotions[n] += weight * share

    def _end_tracks(self, at: float) -> None:
        for number, track in list(self._tracks.items()):
            if abs(at - track.last) > _GONE:
                self._over(self._tracks.pop(number))

    def _over(self, track: _Track) -> None:
        self.figures.tracks.add(max(track.last - track.first, 0.0))
        if track.age is not None:
            self.figures.ages[round(track.age)] += 1
        if track.gender is not None:
            self.figures.genders[track.gender] += 1

    def _status(self, record: Line) -> None:
        if record.at is None:
            return
        at = record.at.timestamp()
        self._count_outage(at)
        self._outage = None
        if record.state != "live":
            self._stop()
        if record.state in ("stalled", "offline"):
            outage = self.figures.outages.setdefault(record.state, Outage())
            outage.times += 1
            self._outage = outage, at

    def _count_outage(self, at: float) -> None:
        """The stream is still in the state that it was in before `at`."""
        if self._outage is not None:
            outage, since = self._outage
            outage.seconds += max(at - since, 0.0)
            self._outage = outage, at

    def _gap(self, record: Line) -> None:
        figures = self.figures
        self._stop()
        figures.gaps[record.reason] += 1
        figures.missing.update(record.counts)
        if record.since is not None and record.until is not None:
            figures.gap_seconds += max((record.until - record.since).total_seconds(), 0.0)


class Stats:
    """Those of each stream, by name."""

    def __init__(self) -> None:
        self.streams: dict[str, StreamStats] = {}

    def add(self, record: Line, size: int) -> None:
        stream = self.streams.get(record.stream)
        if stream is None:
            stream = self.streams[record.stream] = StreamStats()
        stream.add(record, size)

    def finish(self) -> None:
        for stream in self.streams.values():
            stream.finish()

    def total(self) -> Figures:
        total = Figures()
        for stream in self.streams.values():
            total.merge(stream.figures)
        return total

    def __iter__(self) -> Iterator[tuple[str, StreamStats]]:
        return iter(sorted(self.streams.items()))


def of_log(where: Path, wanted: tuple[str, ...], span: Span) -> Stats:
    """Of the streams `wanted`, or of all, in that time. Raises LogError if that cannot be read."""
    stats, found = Stats(), chosen(where, wanted, span)
    for line, record in selected(found, wanted, span, decode_line):
        stats.add(record, len(line) + 1)
    stats.finish()
    for name, segments in found.items():
        if name in stats.streams and not span.limited:
            stats.streams[name].figures.disk_bytes = sum(size_of(each) for each in segments)
    return stats
