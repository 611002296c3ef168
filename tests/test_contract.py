"""The JSON that existing clients rely on."""

import json
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from streamer import contract, records
from streamer.errors import UnreachableError
from streamer.face import EMOTIONS, Face, Floats, Frame, FrameResult, HeadPose
from streamer.media.source import StateChange

VALIDATOR = jsonschema.Draft202012Validator(contract.schema())


def a_face(**changes: Any) -> Face:
    values: dict[str, Any] = {
        "box": np.array([296.2, 59.8, 384.9, 175.4], np.float32),
        "score": 0.98765,
        "landmarks": np.array([[323, 107], [364, 108], [341, 131], [320, 145], [361, 147]], np.float32),
        "age": 24.4,
        "female": 0.997,
        "emotions": np.array([0, 0, 0, 0.99, 0, 0.01, 0], np.float32),
    }
    return Face(**(values | changes))


def as_json(value: object) -> Any:
    return json.loads(contract.encode(value))


def test_a_face_has_the_keys_and_forms_of_the_contract() -> None:
    assert as_json(records.face_object(a_face(), 640, 480)) == {
        "faceConfidence": 0.9877,
        "boundingBox": {"x": 296, "y": 60, "w": 89, "h": 115},
        "age": 24,
        "gender": {"value": "Female", "confidence": 100},
        "emotions": dict(zip(EMOTIONS, [0.0, 0.0, 0.0, 0.99, 0.0, 0.01, 0.0], strict=True)),
        "landmarks": [
            {"type": "eyeLeft", "x": 323, "y": 107},
            {"type": "eyeRight", "x": 364, "y": 108},
            {"type": "nose", "x": 341, "y": 131},
            {"type": "lipLeft", "x": 320, "y": 145},
            {"type": "lipRight", "x": 361, "y": 147},
        ],
        "quality": 1.0,
    }


def test_added_keys_are_added_and_never_null() -> None:
    face = a_face(track_id=3, head_pose=HeadPose(1.04, -2, 3), not_assessed=(("age", "tooSmall"),), raw=a_face())
    shown = as_json(records.face_object(face, 640, 480, raw=True))
    assert shown["trackId"] == 3
    assert shown["headPose"] == {"yaw": 1.0, "pitch": -2, "roll": 3}
    assert shown["notAssessed"] == [{"value": "age", "reason": "tooSmall"}]
    assert shown["raw"]["age"] == 24
    assert "raw" not in as_json(records.face_object(face, 640, 480))
    assert "null" not in contract.encode(records.face_object(face, 640, 480, raw=True)).decode()


@pytest.mark.parametrize(
    ("held", "shown"),
    [
        ({}, None),
        ({"looks_held": 0.25}, {"looks": 250}),
        ({"place_held": 0.1234, "looks_held": 1.5}, {"place": 123, "looks": 1500}),
        ({"place_held": 0.001}, {"place": 1}),
    ],
)
def test_what_is_held_says_since_when(held: dict[str, float], shown: dict[str, int] | None) -> None:
    face = a_face(track_id=3, **held)
    assert as_json(records.face_object(face, 640, 480)).get("heldMs") == shown
    record = as_json(records.frame_record(FrameResult(frame(), (face,), {}, 0, 10.0), "cam", "s1"))
    VALIDATOR.validate(record)
    assert record["faces"][0].get("heldMs") == shown
    for wrong in ({"place": "long"}, {"looks": 0.5}, 3):
        record["faces"][0]["heldMs"] = wrong
        with pytest.raises(jsonschema.ValidationError):
            VALIDATOR.validate(record)


@given(arrays(np.float32, 7, elements=st.floats(0, 1, width=32)))
def test_emotions_are_shares_that_sum_to_one(values: Floats) -> None:
    total = values.sum()
    emotions = values / total if total > 0.01 else np.full(7, 1 / 7, np.float32)
    shown = as_json(records.face_object(a_face(emotions=emotions), 640, 480))["emotions"]
    assert list(shown) == list(EMOTIONS)
    assert sum(shown.values()) == pytest.approx(1, abs=1e-9)
    assert all(0 <= v <= 1 for v in shown.values())
    assert shown[EMOTIONS[int(np.argmax(emotions))]] == max(shown.values())


@given(arrays(np.float32, 4, elements=st.floats(-2000, 4000, width=32)), st.integers(1, 2000), st.integers(1, 2000))
def test_boxes_lie_in_the_picture(corners: Floats, width: int, height: int) -> None:
    box = as_json(records.face_object(a_face(box=corners), width, height))["boundingBox"]
    assert 0 <= box["x"] < width
    assert 0 <= box["y"] < height
    assert 1 <= box["w"] <= width - box["x"]
    assert 1 <= box["h"] <= height - box["y"]


@given(st.floats(0, 1), st.floats(-5, 120))
def test_gender_and_age_are_always_given(female: float, age: float) -> None:
    shown = as_json(records.face_object(a_face(female=female, age=age), 640, 480))
    assert 50 <= shown["gender"]["confidence"] <= 100
    assert shown["gender"]["value"] == ("Female" if female >= 0.5 else "Male")
    assert isinstance(shown["age"], int)
    assert shown["age"] >= 0


def frame(**changes: Any) -> Frame:
    values: dict[str, Any] = {
        "seq": 7,
        "index": 7,
        "at": 0.3,
        "captured": 1_790_000_000.25,
        "arrived": 10.0,
        "width": 640,
        "height": 480,
        "pixels": lambda: np.zeros((480, 640, 3), np.uint8),
    }
    return Frame(**(values | changes))


def test_every_record_follows_the_schema_and_reads_back() -> None:
    seen = FrameResult(frame(pts=0.28), (a_face(track_id=1),), {"detect": 4.2}, 2, 10.0125)
    skipped = FrameResult(frame(skipped="superseded"), (), {}, 1, 10.5)
    change = StateChange("offline", 1_790_000_000.0, UnreachableError("rtsp://u:w0rd@h/x: no answer", "is it on?"))
    every: list[contract.Record] = [
        records.frame_record(seen, "cam", "s1"),
        records.frame_record(skipped, "cam", "s1"),
        records.status_record("cam", "s1", change.at, change.state, change.error),
        contract.HelloRecord(1, "facestreamer 0", "s1", ["cam"]),
    ]
    for record in every:
        data = contract.encode(record)
        VALIDATOR.validate(json.loads(data))
        assert contract.decode(data) == record
        assert b"w0rd" not in data
    shown = as_json(every[0])
    assert shown["time"] == {"captured": "2026-09-21T14:13:20.250Z", "clock": "host", "ageMs": 12.5, "pts": 0.28}
    assert (shown["type"], shown["schema"], shown["status"], shown["dropped"]) == ("frame", 1, "processed", 2)
    passed = as_json(every[1])
    assert (passed["status"], passed["reason"], passed["faces"]) == ("skipped", "superseded", [])


@pytest.mark.parametrize("broken", [{"schema": 2}, {"faces": None}, {"status": "lost"}, {"seq": "7"}])
def test_the_schema_refuses_what_is_not_a_record(broken: dict[str, Any]) -> None:
    record = as_json(records.frame_record(FrameResult(frame(), (), {}, 0, 10.0), "cam", "s1"))
    VALIDATOR.validate(record)
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(record | broken)
