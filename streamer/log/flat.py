"""Faces and frames as rows of a table. Columns are named as the keys of the JSON are."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal

import msgspec

from streamer.face import EMOTIONS, LANDMARKS, SWITCHED_OFF

_STAGES = ("prepare", "detect", "track", "describe", "smooth")


# A `name` is text of which there are few different ones.
Kind = Literal["text", "name", "integer", "number", "time"]


class _Loose(msgspec.Struct, rename="camel", gc=False):
    """Nothing is asked for: settings may leave out whatever tells of people."""


class Time(_Loose):
    captured: datetime
    clock: str | None = None
    age_ms: float | None = None
    pts: float | None = None
    jump_ms: float | None = None


class Image(_Loose):
    width: int | None = None
    height: int | None = None


class Box(_Loose):
    x: int | None = None
    y: int | None = None
    w: int | None = None
    h: int | None = None


class Gender(_Loose):
    value: str | None = None
    confidence: int | None = None


class Emotions(_Loose):
    angry: float
    disgust: float
    fear: float
    happy: float
    sad: float
    surprise: float
    neutral: float


class Landmark(_Loose):
    type: str
    x: int
    y: int


class Pose(_Loose):
    yaw: float | None = None
    pitch: float | None = None
    roll: float | None = None


class Doubt(_Loose):
    value: str
    reason: str = ""


class Held(_Loose):
    place: int | None = None
    looks: int | None = None


class FaceLine(_Loose):
    track_id: int | None = None
    face_confidence: float | None = None
    bounding_box: Box = msgspec.field(default_factory=Box)
    age: int | None = None
    gender: Gender = msgspec.field(default_factory=Gender)
    emotions: Emotions | None = None
    landmarks: list[Landmark] = []
    quality: float | None = None
    head_pose: Pose = msgspec.field(default_factory=Pose)
    not_assessed: list[Doubt] = []
    held_ms: Held = msgspec.field(default_factory=Held)


class FrameLine(_Loose):
    """A record of any type."""

    type: str
    schema: int
    stream: str = ""
    session: str = ""
    seq: int = -1
    frame: int = -1
    status: str = ""
    reason: str | None = None
    time: Time | None = None
    image: Image = msgspec.field(default_factory=Image)
    faces: list[FaceLine] = []
    timings: dict[str, float] = {}
    dropped: int | None = None

    def when(self) -> float | None:
        """Seconds since 1970, of a frame."""
        return self.time.captured.timestamp() if self.time else None


decode_frame = msgspec.json.Decoder(FrameLine).decode
_values = msgspec.structs.astuple

_PLACE: dict[str, Kind] = {
    "stream": "name",
    "session": "name",
    "seq": "integer",
    "frame": "integer",
    "captured": "time",
    "pts": "number",
    "ageMs": "number",
    "width": "integer",
    "height": "integer",
}
FACE_COLUMNS: dict[str, Kind] = {
    **_PLACE,
    "trackId": "integer",
    "faceConfidence": "number",
    "x": "integer",
    "y": "integer",
    "w": "integer",
    "h": "integer",
    "age": "integer",
    "gender": "name",
    "genderConfidence": "integer",
    **dict.fromkeys(EMOTIONS, "number"),
    "emotion": "name",  # the leading one
    **dict.fromkeys((f"{point}{axis}" for point in LANDMARKS for axis in "XY"), "integer"),
    "quality": "number",
    "yaw": "number",
    "pitch": "number",
    "roll": "number",
    "notAssessed": "text",  # "age: tooSmall, gender: tooSmall"
    "placeHeldMs": "integer",
    "looksHeldMs": "integer",
}
FRAME_COLUMNS: dict[str, Kind] = {
    **_PLACE,
    "status": "name",
    "reason": "name",
    "clock": "name",
    "jumpMs": "number",
    "faces": "integer",
    "dropped": "integer",
    **dict.fromkeys((f"{stage}Ms" for stage in _STAGES), "number"),
}
_NO_EMOTIONS = (None,) * (len(EMOTIONS) + 1)


def frame_row(frame: FrameLine) -> list[Any]:
    """In the order of FRAME_COLUMNS."""
    time = frame.time
    clock, jump = (time.clock, time.jump_ms) if time else (None, None)
    stages = [frame.timings.get(stage) for stage in _STAGES]
    return [*_place(frame), frame.status, frame.reason, clock, jump, len(frame.faces), frame.dropped, *stages]


def face_rows(frame: FrameLine) -> Iterator[list[Any]]:
    """In the order of FACE_COLUMNS, without the constants in the place of values that were switched off."""
    place = _place(frame)
    for face in frame.faces:
        points = {point.type: (point.x, point.y) for point in face.landmarks}
        off = {doubt.value for doubt in face.not_assessed if doubt.reason == SWITCHED_OFF}
        yield [
            *place,
            face.track_id,
            face.face_confidence,
            *_values(face.bounding_box),
            None if "age" in off else face.age,
            *_values(Gender() if "gender" in off else face.gender),
            *_emotions(None if "emotion" in off else face.emotions),
            *(value for name in LANDMARKS for value in points.get(name, (None, None))),
            face.quality,
            *_values(face.head_pose),
            ", ".join(f"{doubt.value}: {doubt.reason}" for doubt in face.not_assessed) or None,
            *_values(face.held_ms),
        ]


def _place(frame: FrameLine) -> list[Any]:
    time, image = frame.time, frame.image
    of_time = (time.captured, time.pts, time.age_ms) if time else (None, None, None)
    return [frame.stream, frame.session, frame.seq, frame.frame, *of_time, image.width, image.height]


def _emotions(emotions: Emotions | None) -> tuple[Any, ...]:
    if emotions is None:
        return _NO_EMOTIONS
    shares = _values(emotions)
    return (*shares, EMOTIONS[max(range(len(shares)), key=shares.__getitem__)])
