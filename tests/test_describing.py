"""Merging readings, head pose and quality, with plain values."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from streamer.analysis import fusion, geometry, landmarks, quality
from streamer.analysis.pyramid import Pyramid
from streamer.face import Detections, Floats, Pixels
from streamer.inference.crops import warp
from streamer.inference.models import Models
from streamer.pipeline import analyse_picture

angles = st.floats(-35, 35)


def turned(yaw: float, pitch: float, roll: float) -> Floats:
    """A mesh (1, 478, 3) whose rigid vertices are those of the average face, turned and moved."""
    a, b, c = np.radians([yaw, pitch, roll])
    to_right = np.array([[math.cos(a), 0, -math.sin(a)], [0, 1, 0], [math.sin(a), 0, math.cos(a)]])
    up = np.array([[1, 0, 0], [0, math.cos(b), math.sin(b)], [0, -math.sin(b), math.cos(b)]])
    clockwise = np.array([[math.cos(c), -math.sin(c), 0], [math.sin(c), math.cos(c), 0], [0, 0, 1]])
    mesh = np.zeros((1, 478, 3), np.float32)
    rigid = landmarks._RIGID_TEMPLATE @ (to_right @ up @ clockwise).T  # noqa: SLF001  # the truth to find again
    mesh[0, list(landmarks._RIGID)] = 1.7 * rigid + (300, 200, 0)  # noqa: SLF001
    return mesh


@given(angles, angles, angles)
def test_a_turned_head_is_read_as_it_was_turned(yaw: float, pitch: float, roll: float) -> None:
    np.testing.assert_allclose(landmarks.head_pose(turned(yaw, pitch, roll))[0], [yaw, pitch, roll], atol=0.1)


async def test_the_pose_follows_the_picture(accurate: Models, portrait: Pixels) -> None:
    poses = []
    for angle in (0, -25):  # OpenCV turns counter-clockwise for positive angles
        turn = cv2.getRotationMatrix2D((224, 120), angle, 1.0)
        tilted = cv2.warpAffine(portrait, turn, (512, 512), borderMode=cv2.BORDER_REPLICATE).astype(np.uint8)
        (face,) = await analyse_picture(tilted, accurate)
        assert face.head_pose is not None
        poses.append(face.head_pose)
    assert poses[1].roll - poses[0].roll == pytest.approx(25, abs=4)
    mirrored = np.ascontiguousarray(portrait[:, ::-1])
    (face,) = await analyse_picture(mirrored, accurate)
    assert face.head_pose is not None
    assert face.head_pose.yaw == pytest.approx(-poses[0].yaw, abs=4)
    assert face.head_pose.roll == pytest.approx(-poses[0].roll, abs=4)


@st.composite
def readings(draw: st.DrawFn) -> Detections:
    n = draw(st.integers(0, 8))
    corner = draw(arrays(np.float32, (n, 2), elements=st.floats(0, 500, width=32)))
    size = draw(arrays(np.float32, (n, 2), elements=st.floats(10, 200, width=32)))
    scores = draw(arrays(np.float32, n, elements=st.floats(0.0625, 1, width=32)))
    points: Floats = np.repeat((corner + size / np.float32(2))[:, None], 5, 1)
    found = Detections(np.concatenate([corner, corner + size], 1), scores, points)
    return found[geometry.non_maximum_suppression(found.boxes, found.scores, 0.4)]


@given(readings(), st.integers(1, 3))
def test_readings_that_agree_change_nothing(found: Detections, times: int) -> None:
    merged = fusion.merge([found] * times, 0.45)
    np.testing.assert_allclose(merged.scores, np.sort(found.scores)[::-1], atol=1e-5)
    np.testing.assert_allclose(np.sort(merged.boxes, 0), np.sort(found.boxes, 0), atol=1e-2)


@given(readings(), readings())
def test_merging_keeps_faces_apart_and_scores_in_order(a: Detections, b: Detections) -> None:
    merged = fusion.merge([a, b], 0.45)
    assert (np.diff(merged.scores) <= 0).all()
    assert merged.scores.max(initial=0) <= 1
    overlap = geometry.iou_matrix(merged.boxes, merged.boxes)
    np.fill_diagonal(overlap, 0)
    assert overlap.max(initial=0) <= 0.45


def test_a_face_that_one_of_two_readings_sees_counts_half() -> None:
    one = Detections(
        np.array([[0, 0, 10, 10]], np.float32), np.array([0.8], np.float32), np.ones((1, 5, 2), np.float32)
    )
    assert fusion.merge([one, Detections.none()], 0.45).scores.tolist() == pytest.approx([0.4])
    assert len(fusion.merge([Detections.none(), Detections.none()], 0.45)) == 0


@given(readings(), st.integers(600, 900))
def test_mirroring_twice_is_nothing(found: Detections, width: int) -> None:
    again = fusion.mirror(fusion.mirror(found, width), width)
    np.testing.assert_allclose(again.boxes, found.boxes, atol=1e-3)
    np.testing.assert_allclose(again.landmarks, found.landmarks, atol=1e-3)


@given(st.lists(st.floats(0.01, 0.99), min_size=2, max_size=9, unique=True))
def test_calibration_keeps_the_order(scores: list[float]) -> None:
    shown = fusion.probability(np.array(sorted(scores), np.float32), 3.1, 2.35)
    assert (np.diff(shown) >= 0).all()
    assert ((shown >= 0) & (shown <= 1)).all()


def judge(chip: Pixels, eyes: float = 60, yaw: float = 0, score: float = 20, trusted: bool = True) -> quality.Quality:
    points = np.array([[[0, 0], [eyes, 0], [eyes / 2, 20], [10, 40], [40, 40]]], np.float32)
    pose = np.array([[yaw, 0, 0]], np.float32)
    return quality.face_quality(chip[None], points, pose, np.array([score], np.float32), np.array([trusted]))


def test_quality_falls_with_every_defect_and_names_it(portrait: Pixels) -> None:
    truth = np.array([[[204, 103], [246, 104], [224, 125], [201, 140], [245, 142]]], np.float32)
    (chip,) = warp([Pyramid.of(portrait)], geometry.chip_maps(truth, geometry.CHIP_TEMPLATE, 64), 64)
    good = judge(chip)
    assert good.overall[0] > 0.8
    assert good.reasons == [()]
    blurred = cv2.GaussianBlur(chip, (0, 0), 4).astype(np.uint8)
    for worse, reason in (
        (judge(blurred), "blurred"),
        (judge(chip, eyes=9), "tooSmall"),
        (judge(chip, yaw=50), "profile"),
        (judge(chip, score=-7, trusted=False), "noLandmarks"),
    ):
        assert worse.overall[0] < good.overall[0] - 0.2
        assert reason in worse.reasons[0]
    assert judge((chip // 8).astype(np.uint8)).overall[0] < good.overall[0] - 0.2
