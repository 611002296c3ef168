"""The JSON that clients see: one set of record types for the websocket, the log and the HTTP answers.

The types are the schema: `schema()` derives the JSON Schema that the server serves and the tests check against.
Keys that are absent were not judged or not asked for; none is ever null. `records` makes them.
"""

from typing import Annotated, Any, Final, Literal

import msgspec

from streamer.face import Clock

SCHEMA_VERSION: Final = 1

State = Literal["connecting", "live", "stalled", "offline", "ended"]
Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]


class _Wire(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    pass


class BoundingBox(_Wire, frozen=True):
    """Pixels of the source picture as displayed; x, y is the top left corner."""

    x: int
    y: int
    w: int
    h: int


class Gender(_Wire, frozen=True):
    """`confidence` is 0-100."""

    value: Literal["Male", "Female"]
    confidence: Annotated[int, msgspec.Meta(ge=0, le=100)]


class Emotions(_Wire, frozen=True):
    """Shares 0-1 that sum to 1."""

    angry: Fraction
    disgust: Fraction
    fear: Fraction
    happy: Fraction
    sad: Fraction
    surprise: Fraction
    neutral: Fraction


class Landmark(_Wire, frozen=True):
    """Left and right are sides of the picture."""

    type: Literal["eyeLeft", "eyeRight", "nose", "lipLeft", "lipRight"]
    x: int
    y: int


class HeadPoseDegrees(_Wire, frozen=True):
    """Yaw > 0: turned to the right side of the picture; pitch > 0: up; roll > 0: clockwise."""

    yaw: float
    pitch: float
    roll: float


class NotAssessed(_Wire, frozen=True):
    """A value that is given but is only a guess, and why; `switchedOff`: a constant, since nobody wants it judged."""

    value: str
    reason: str


class Held(_Wire, frozen=True):
    """How many milliseconds ago values were seen that are not from this picture: `place` box, landmarks and pose;
    `looks` age, gender, emotions and quality.
    """

    place: int | msgspec.UnsetType = msgspec.UNSET
    looks: int | msgspec.UnsetType = msgspec.UNSET


class RawValues(_Wire, frozen=True):
    """What this frame alone says, before smoothing."""

    bounding_box: BoundingBox
    age: int
    gender: Gender
    emotions: Emotions
    landmarks: list[Landmark]


class FaceObject(_Wire, frozen=True):
    """One face, the same wherever it appears."""

    face_confidence: Fraction
    bounding_box: BoundingBox
    age: int
    gender: Gender
    emotions: Emotions
    landmarks: list[Landmark]
    track_id: int | msgspec.UnsetType = msgspec.UNSET
    quality: Fraction | msgspec.UnsetType = msgspec.UNSET
    head_pose: HeadPoseDegrees | msgspec.UnsetType = msgspec.UNSET
    not_assessed: list[NotAssessed] | msgspec.UnsetType = msgspec.UNSET
    held_ms: Held | msgspec.UnsetType = msgspec.UNSET
    raw: RawValues | msgspec.UnsetType = msgspec.UNSET


class ImageSize(_Wire, frozen=True):
    width: int
    height: int


class ErrorObject(_Wire, frozen=True):
    """`code` is for programs, `message` says what happened, `hint` what to do."""

    code: str
    message: str
    hint: str


class FrameTime(_Wire, frozen=True):
    """`captured` is RFC 3339 UTC; `ageMs` is from capture (a file: from decoding) to publishing. `jumpMs` is there
    where the clock was set since the frame before: by how much.
    """

    captured: str
    clock: Clock
    age_ms: float
    pts: float | msgspec.UnsetType = msgspec.UNSET
    jump_ms: float | msgspec.UnsetType = msgspec.UNSET


class FrameRecord(_Wire, frozen=True, tag_field="type", tag="frame"):
    """What came of one frame; every frame that a source delivered has one, in order of `seq` without holes.

    `skipped` is only on the websocket: how many records before it a slow client did not get.
    """

    schema: Literal[1]
    stream: str
    session: str
    seq: int
    frame: int
    status: Literal["processed", "skipped"]
    time: FrameTime
    image: ImageSize
    faces: list[FaceObject]
    timings: dict[str, float]
    dropped: int
    reason: str | msgspec.UnsetType = msgspec.UNSET
    skipped: int | msgspec.UnsetType = msgspec.UNSET


class StatusRecord(_Wire, frozen=True, tag_field="type", tag="status"):
    """A stream changed its state; `at` is RFC 3339 UTC."""

    schema: Literal[1]
    stream: str
    session: str
    at: str
    state: State
    error: ErrorObject | msgspec.UnsetType = msgspec.UNSET


class Moment(_Wire, frozen=True):
    """A frame, by its number and when it was captured (RFC 3339 UTC)."""

    seq: int
    captured: str


class BestSighting(_Wire, frozen=True):
    """The face in that frame in which its quality was best."""

    seq: int
    captured: str
    face: FaceObject


class TrackRecord(_Wire, frozen=True, tag_field="type", tag="track"):
    """A track has ended: everything that is worth knowing of it, so that no frames need be added up.

    `seconds` from `first` to `last` sighting, seen in so many `frames`; age and gender as they were at last, `emotions`
    as shares of the time; `notAssessed` what was never more than a guess.
    """

    schema: Literal[1]
    stream: str
    session: str
    track_id: int
    first: Moment
    last: Moment
    seconds: float
    frames: int
    best: BestSighting
    age: int
    gender: Gender
    emotions: Emotions
    not_assessed: list[NotAssessed] | msgspec.UnsetType = msgspec.UNSET


class HelloRecord(_Wire, frozen=True, tag_field="type", tag="hello"):
    """The first message on a websocket."""

    schema: Literal[1]
    server: str
    session: str
    streams: list[str]
    states: dict[str, State] = {}


class MissedRecord(_Wire, frozen=True, tag_field="type", tag="missed"):
    """To a websocket client that resumes: the records from one number of `seq` to another can no longer be had."""

    schema: Literal[1]
    stream: str
    session: str
    from_: int = msgspec.field(name="from")
    to: int


class SegmentRecord(_Wire, frozen=True, tag_field="type", tag="segment"):
    """The first line of a segment of the log. `previous` is the SHA-256 of the stream's segment before this one, from
    its footer; empty in the first. `at` is RFC 3339 UTC, here and below.
    """

    schema: Literal[1]
    stream: str
    session: str
    at: str
    program: str
    previous: str = ""


class FooterRecord(_Wire, frozen=True, tag_field="type", tag="footer"):
    """The last line of a segment of the log: how many records of each type are in it (of frames, how many `processed`
    and `skipped`), its first and last frame, and the SHA-256 of all bytes before this line, which begin with a
    `segment` record: so each segment vouches for the one before it.

    A segment whose writer was killed is `repaired` at the next start: `tornBytes` of a half-written record were cut.
    """

    schema: Literal[1]
    stream: str
    session: str
    at: str
    counts: dict[str, int]
    processed: int
    skipped: int
    sha256: str
    first_seq: int | msgspec.UnsetType = msgspec.UNSET
    last_seq: int | msgspec.UnsetType = msgspec.UNSET
    repaired: bool = False
    torn_bytes: int = 0


class GapRecord(_Wire, frozen=True, tag_field="type", tag="gap"):
    """In the log, in the place of records that could not be written: how many of what `counts` type, between which
    times, and of frames which. Why: `diskFull`, `writeFailed`, or `overflow` where the disk was too slow for too long.
    """

    schema: Literal[1]
    stream: str
    session: str
    reason: Literal["diskFull", "writeFailed", "overflow"]
    since: str
    until: str
    counts: dict[str, int]
    from_: int | msgspec.UnsetType = msgspec.field(name="from", default=msgspec.UNSET)
    to: int | msgspec.UnsetType = msgspec.UNSET


class RemovedRecord(_Wire, frozen=True, tag_field="type", tag="removed"):
    """In a log's `removed.jsonl`: a segment that was deleted because of its age or the size of the log. What it held is
    told as its footer told it.
    """

    schema: Literal[1]
    stream: str
    at: str
    segment: str
    reason: Literal["age", "size"]
    footer: FooterRecord


Record = FrameRecord | StatusRecord | TrackRecord | HelloRecord | MissedRecord
LogRecord = FrameRecord | StatusRecord | TrackRecord | SegmentRecord | FooterRecord | GapRecord


class ImageAnswer(_Wire, frozen=True):
    """The answer of `POST /analyze`; `timings` in milliseconds."""

    faces: list[FaceObject]
    image: ImageSize
    timings: dict[str, float]


class ErrorAnswer(_Wire, frozen=True):
    """The answer to every request that failed."""

    error: ErrorObject
    faces: list[FaceObject]


class PictureResult(_Wire, frozen=True):
    """One picture of several: as an `ImageAnswer`, or its `error` and no faces."""

    faces: list[FaceObject]
    image: ImageSize | msgspec.UnsetType = msgspec.UNSET
    timings: dict[str, float] | msgspec.UnsetType = msgspec.UNSET
    error: ErrorObject | msgspec.UnsetType = msgspec.UNSET


class BatchAnswer(_Wire, frozen=True):
    """The answer of `POST /analyze` to several pictures, in their order."""

    results: list[PictureResult]


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Record).decode
decode_logged = msgspec.json.Decoder(LogRecord).decode
decode_any = msgspec.json.Decoder(Record | LogRecord).decode


def schema() -> dict[str, Any]:
    """One JSON Schema (2020-12) for every record on the websocket and in the log."""
    (root,), parts = msgspec.json.schema_components([Record | LogRecord | RemovedRecord], ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "facestreamer records",
        **root,
        "$defs": parts,
    }
