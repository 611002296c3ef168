"""The JSON that clients see: one set of record types for the websocket, the log and the HTTP answers.

The types are the schema: `schema()` derives the JSON Schema that the server serves and the tests check against.
Only here are pixels rounded. Keys that are absent were not judged or not asked for; none is ever null.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

import msgspec
import numpy as np

from streamer.errors import StreamerError
from streamer.face import EMOTIONS, LANDMARKS, Clock, Face, Floats, FrameResult

SCHEMA_VERSION: Final = 1

_LAST_SECOND = 253402300799.0  # of the year 9999

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
    """A value that is given but is only a guess, and why."""

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


Record = FrameRecord | StatusRecord | HelloRecord | MissedRecord


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


def rfc3339(seconds: float) -> str:
    """Seconds since 1970 as RFC 3339 UTC with milliseconds; times beyond the calendar become its ends."""
    seconds = min(max(seconds, 0.0), _LAST_SECOND)
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def error_object(error: StreamerError) -> ErrorObject:
    return ErrorObject(error.code, error.message, error.hint)


def _box(box: Floats, width: int, height: int) -> BoundingBox:
    """`box` rounded and cut to the picture, at least one pixel wide and high."""
    x1, y1, x2, y2 = (round(float(v)) for v in box)
    left, top = min(max(x1, 0), width - 1), min(max(y1, 0), height - 1)
    return BoundingBox(left, top, max(min(x2, width) - left, 1), max(min(y2, height) - top, 1))


def _gender(female: float) -> Gender:
    if female >= 0.5:
        return Gender("Female", round(100 * female))
    return Gender("Male", round(100 * (1 - female)))


def _emotions(shares: Floats) -> Emotions:
    """Four decimals that still sum to 1: what rounding left over goes to the leader, what it added too much comes off
    those it raised most.
    """
    exact = shares.astype(np.float64) * 10_000
    units = np.rint(exact).astype(int)
    leader = int(np.argmax(shares))
    over = int(units.sum()) - 10_000
    if over <= 0:
        units[leader] -= over
    else:
        raised = units - exact
        raised[leader] = -1
        units[np.argsort(-raised)[:over]] -= 1
    return Emotions(**dict(zip(EMOTIONS, (units / 10_000).tolist(), strict=True)))


def _landmarks(points: Floats) -> list[Landmark]:
    return [
        Landmark(name, round(float(x)), round(float(y)))  # type: ignore[arg-type]  # LANDMARKS holds the literals
        for name, (x, y) in zip(LANDMARKS, points, strict=True)
    ]


def _held(face: Face) -> Held | msgspec.UnsetType:
    if not face.place_held and not face.looks_held:
        return msgspec.UNSET
    return Held(
        round(face.place_held * 1000) if face.place_held else msgspec.UNSET,
        round(face.looks_held * 1000) if face.looks_held else msgspec.UNSET,
    )


def face_object(face: Face, width: int, height: int, *, raw: bool = False) -> FaceObject:
    """`face` as clients see it; `width` and `height` are those of its picture. With `raw`, unsmoothed, too."""
    pose, plain, unset = face.head_pose, face.raw, msgspec.UNSET
    return FaceObject(
        face_confidence=round(face.score, 4),
        bounding_box=_box(face.box, width, height),
        age=max(round(face.age), 0),
        gender=_gender(face.female),
        emotions=_emotions(face.emotions),
        landmarks=_landmarks(face.landmarks),
        track_id=unset if face.track_id is None else face.track_id,
        quality=round(face.quality, 3),
        head_pose=HeadPoseDegrees(round(pose.yaw, 1), round(pose.pitch, 1), round(pose.roll, 1)) if pose else unset,
        not_assessed=[NotAssessed(value, reason) for value, reason in face.not_assessed] or unset,
        held_ms=_held(face),
        raw=RawValues(
            _box(plain.box, width, height),
            max(round(plain.age), 0),
            _gender(plain.female),
            _emotions(plain.emotions),
            _landmarks(plain.landmarks),
        )
        if raw and plain
        else unset,
    )


def frame_record(result: FrameResult, stream: str, session: str, *, raw: bool = False) -> FrameRecord:
    """The record of one frame, for the websocket and the log alike; its faces with `raw` values where asked for."""
    frame = result.frame
    return FrameRecord(
        schema=SCHEMA_VERSION,
        stream=stream,
        session=session,
        seq=frame.seq,
        frame=frame.index,
        status="skipped" if frame.skipped else "processed",
        time=FrameTime(
            captured=rfc3339(frame.captured),
            clock=frame.clock,
            age_ms=round(max(result.took + frame.delay, 0.0) * 1000, 1),
            pts=msgspec.UNSET if frame.pts is None else round(frame.pts, 6),
            jump_ms=round(frame.jump * 1000) if frame.jump else msgspec.UNSET,
        ),
        image=ImageSize(frame.width, frame.height),
        faces=[face_object(face, frame.width, frame.height, raw=raw) for face in result.faces],
        timings={stage: round(ms, 2) for stage, ms in result.timings.items()},
        dropped=result.dropped,
        reason=frame.skipped or msgspec.UNSET,
    )


def status_record(
    stream: str, session: str, at: float, state: State, error: StreamerError | None = None
) -> StatusRecord:
    return StatusRecord(
        SCHEMA_VERSION,
        stream,
        session,
        rfc3339(at),
        state,
        msgspec.UNSET if error is None else error_object(error),
    )


def schema() -> dict[str, Any]:
    """One JSON Schema (2020-12) for every record on the websocket and in the log."""
    (root,), parts = msgspec.json.schema_components([Record], ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "facestreamer records",
        **root,
        "$defs": parts,
    }
