"""The records of the contract, made from the values of this program. Only here are pixels rounded."""

from datetime import UTC, datetime

import msgspec

from streamer.analysis.visits import Visit
from streamer.contract import (
    SCHEMA_VERSION,
    BestSighting,
    BoundingBox,
    Emotions,
    ErrorObject,
    FaceObject,
    FrameRecord,
    FrameTime,
    Gender,
    HeadPoseDegrees,
    Held,
    ImageSize,
    Landmark,
    Moment,
    NotAssessed,
    RawValues,
    State,
    StatusRecord,
    TrackRecord,
)
from streamer.errors import StreamerError
from streamer.face import LANDMARKS, Face, Float64s, Floats, FrameResult, Judged

_LAST_SECOND = 253402300799.0  # of the year 9999


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


def _emotions(shares: Floats | Float64s) -> Emotions:
    """Four decimals that still sum to 1: what rounding left over goes to the leader, what it added too much comes off
    those it raised most.
    """
    exact = [10_000 * share for share in shares.tolist()]
    units = [round(each) for each in exact]
    leader = exact.index(max(exact))
    over = sum(units) - 10_000
    if over <= 0:
        units[leader] -= over
    else:
        others = (n for n in range(len(units)) if n != leader)
        for n in sorted(others, key=lambda n: exact[n] - units[n])[:over]:
            units[n] -= 1
    return Emotions(*(each / 10_000 for each in units))


def _landmarks(points: Floats) -> list[Landmark]:
    return [
        Landmark(name, round(float(x)), round(float(y)))  # type: ignore[arg-type]  # LANDMARKS holds the literals
        for name, (x, y) in zip(LANDMARKS, points, strict=True)
    ]


def _guesses(of: tuple[tuple[str, str], ...]) -> list[NotAssessed] | msgspec.UnsetType:
    return [NotAssessed(value, reason) for value, reason in of] or msgspec.UNSET


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
        quality=unset if face.coordinates_only else round(face.quality, 3),
        head_pose=HeadPoseDegrees(round(pose.yaw, 1), round(pose.pitch, 1), round(pose.roll, 1)) if pose else unset,
        not_assessed=_guesses(face.not_assessed),
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


def judged(face: FaceObject, value: Judged) -> bool:
    """Whether a value is more than a guess or a constant in the place of one."""
    doubts = [] if face.not_assessed is msgspec.UNSET else face.not_assessed
    return all(doubt.value != value for doubt in doubts)


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


def track_record(visit: Visit, stream: str, session: str, *, raw: bool = False) -> TrackRecord:
    """The record of a track that has ended; its best face with `raw` values where asked for."""
    best, looks = visit.best, visit.last_looks
    return TrackRecord(
        SCHEMA_VERSION,
        stream,
        session,
        visit.track_id,
        Moment(visit.first.seq, rfc3339(visit.first.captured)),
        Moment(visit.last.seq, rfc3339(visit.last.captured)),
        round(visit.seconds, 3),
        visit.frames,
        BestSighting(
            best.frame.seq,
            rfc3339(best.frame.captured),
            face_object(best.face, best.frame.width, best.frame.height, raw=raw),
        ),
        max(round(looks.age), 0),
        _gender(looks.female),
        _emotions(visit.emotions),
        _guesses(visit.not_assessed),
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
