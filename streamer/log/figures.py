"""What is counted in a log, and how it is told."""

from collections import Counter

import msgspec

from streamer.contract import SCHEMA_VERSION
from streamer.face import EMOTIONS
from streamer.log.series import Distribution
from streamer.records import rfc3339

_DECADE = 10


class Outage:
    """How often a stream was in a state in which it gave no pictures, and for how many seconds."""

    def __init__(self) -> None:
        self.times = 0
        self.seconds = 0.0


class Figures:
    """What can be added up over streams. Seconds of a stream's time are those between frames that follow each other;
    `emotions` are weighted by seconds, `ages` and `genders` are of tracks.
    """

    def __init__(self) -> None:
        self.sessions: set[str] = set()
        self.first: float | None = None
        self.last: float | None = None
        self.seconds = 0.0
        self.intervals = self.analysed_intervals = 0
        self.processed = 0
        self.skipped: Counter[str] = Counter()
        self.gaps: Counter[str] = Counter()
        self.missing: Counter[str] = Counter()  # records in gaps, by type
        self.gap_seconds = 0.0
        self.outages: dict[str, Outage] = {}
        self.age = Distribution()  # milliseconds
        self.timings: dict[str, list[float]] = {}  # count and sum of milliseconds
        self.with_faces = self.faces = self.most_faces = 0
        self.face_seconds = 0.0
        self.emotions = [0.0] * len(EMOTIONS)
        self.tracks = Distribution()  # seconds
        self.ages: Counter[int] = Counter()
        self.genders: Counter[str] = Counter()
        self.record_bytes = self.disk_bytes = 0

    def merge(self, other: "Figures") -> None:
        self.sessions |= other.sessions
        for name in ("first", "last"):
            ends = [each for each in (getattr(self, name), getattr(other, name)) if each is not None]
            setattr(self, name, (min if name == "first" else max)(ends, default=None))
        for name in (
            *("seconds", "intervals", "analysed_intervals", "processed", "gap_seconds", "with_faces", "faces"),
            *("face_seconds", "record_bytes", "disk_bytes"),
        ):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("skipped", "gaps", "missing", "ages", "genders"):
            getattr(self, name).update(getattr(other, name))
        self.most_faces = max(self.most_faces, other.most_faces)
        self.age.merge(other.age)
        self.tracks.merge(other.tracks)
        for state, outage in other.outages.items():
            mine = self.outages.setdefault(state, Outage())
            mine.times, mine.seconds = mine.times + outage.times, mine.seconds + outage.seconds
        for stage, (count, total) in other.timings.items():
            known = self.timings.setdefault(stage, [0, 0.0])
            known[0], known[1] = known[0] + count, known[1] + total
        self.emotions = [a + b for a, b in zip(self.emotions, other.emotions, strict=True)]


class _Told(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    pass


class Frames(_Told, frozen=True):
    """How many came of which outcome; `skipped` by reason."""

    total: int
    processed: int
    skipped: dict[str, int]


class Gaps(_Told, frozen=True):
    """Records that could not be written, by type; the number of gaps by their reason."""

    count: int
    seconds: float
    reasons: dict[str, int]
    missing: dict[str, int]


class Rates(_Told, frozen=True):
    """Frames a second, over the time in which the stream was live."""

    delivered: float
    analysed: float


class Milliseconds(_Told, frozen=True):
    mean: float
    p50: float
    p95: float
    p99: float
    max: float


class Faces(_Told, frozen=True):
    """`frames` have some; `mean` of all processed frames. `seconds`: how long faces were there, all added up."""

    frames: int
    total: int
    mean: float
    max: int
    seconds: float


class Dwell(_Told, frozen=True):
    """For how many seconds tracks were seen."""

    median: float
    p90: float
    longest: float


class Away(_Told, frozen=True):
    times: int
    seconds: float


class Bytes(_Told, frozen=True):
    """Of the records as such; and what the files take, where they were read as a whole."""

    records: int
    disk: int = 0


class Summary(_Told, frozen=True):
    """Of a stream, or of all; what there is nothing to tell of is left out. Frames came for so many `seconds`."""

    sessions: int
    seconds: float
    frames: Frames
    gaps: Gaps
    outages: dict[str, Away]
    faces: Faces
    tracks: int
    timings: dict[str, float]
    ages: dict[str, int]
    genders: dict[str, int]
    bytes: Bytes
    first: str = ""
    last: str = ""
    fps: Rates | msgspec.UnsetType = msgspec.UNSET
    age_ms: Milliseconds | msgspec.UnsetType = msgspec.UNSET
    dwell: Dwell | msgspec.UnsetType = msgspec.UNSET
    emotions: dict[str, float] | msgspec.UnsetType = msgspec.UNSET
    median_age: int | msgspec.UnsetType = msgspec.UNSET


class Told(_Told, frozen=True):
    """The answer of `streamer log stats --json`."""

    schema: int
    log: str
    streams: dict[str, Summary]
    total: Summary


def told(log: str, streams: dict[str, Figures], total: Figures) -> Told:
    return Told(SCHEMA_VERSION, log, {name: summary(each) for name, each in streams.items()}, summary(total))


def summary(figures: Figures) -> Summary:
    return Summary(
        sessions=len(figures.sessions),
        seconds=round(figures.seconds, 3),
        frames=Frames(
            figures.processed + figures.skipped.total(), figures.processed, dict(figures.skipped.most_common())
        ),
        gaps=Gaps(
            figures.gaps.total(), round(figures.gap_seconds, 3), dict(figures.gaps), dict(figures.missing.most_common())
        ),
        outages={state: Away(each.times, round(each.seconds, 3)) for state, each in figures.outages.items()},
        faces=Faces(
            figures.with_faces,
            figures.faces,
            round(figures.faces / max(figures.processed, 1), 3),
            figures.most_faces,
            round(figures.face_seconds, 3),
        ),
        tracks=figures.tracks.count,
        timings={stage: round(total / count, 3) for stage, (count, total) in figures.timings.items()},
        ages=decades(figures.ages),
        genders=dict(sorted(figures.genders.items())),
        bytes=Bytes(figures.record_bytes, figures.disk_bytes),
        first="" if figures.first is None else rfc3339(figures.first),
        last="" if figures.last is None else rfc3339(figures.last),
        fps=_rates(figures),
        age_ms=_milliseconds(figures.age),
        dwell=_dwell(figures.tracks),
        emotions=_shares(figures.emotions),
        median_age=_median(figures.ages),
    )


def decades(ages: Counter[int]) -> dict[str, int]:
    """How many are from 0 to 9, from 10 to 19, ... up to the oldest."""
    found = Counter[int]()
    for age, count in ages.items():
        found[age // _DECADE] += count
    return (
        {f"{n * _DECADE}-{n * _DECADE + _DECADE - 1}": found[n] for n in range(min(found), max(found) + 1)}
        if found
        else {}
    )


def _median(ages: Counter[int]) -> int | msgspec.UnsetType:
    rest = (ages.total() + 1) // 2
    for age in sorted(ages):
        rest -= ages[age]
        if rest <= 0:
            return age
    return msgspec.UNSET


def _rates(figures: Figures) -> Rates | msgspec.UnsetType:
    seconds = figures.seconds
    if not seconds:
        return msgspec.UNSET
    return Rates(round(figures.intervals / seconds, 3), round(figures.analysed_intervals / seconds, 3))


def _milliseconds(age: Distribution) -> Milliseconds | msgspec.UnsetType:
    if not age.count:
        return msgspec.UNSET
    p50, p95, p99 = (round(value, 1) for value in age.quantiles(0.5, 0.95, 0.99))
    return Milliseconds(round(age.mean, 1), p50, p95, p99, age.highest)


def _dwell(tracks: Distribution) -> Dwell | msgspec.UnsetType:
    if not tracks.count:
        return msgspec.UNSET
    median, p90 = (round(value, 2) for value in tracks.quantiles(0.5, 0.9))
    return Dwell(median, p90, round(tracks.highest, 2))


def _shares(weights: list[float]) -> dict[str, float] | msgspec.UnsetType:
    total = sum(weights)
    return (
        {name: round(each / total, 4) for name, each in zip(EMOTIONS, weights, strict=True)} if total else msgspec.UNSET
    )
