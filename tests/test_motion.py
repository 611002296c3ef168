"""What opens the gate and what does not, on pictures made of noise and patches."""

from typing import cast

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.analysis.motion import MotionGate
from streamer.analysis.pyramid import Pyramid
from streamer.face import Pixels

THRESHOLD = 0.002
STEP = 0.04


def scene(width: int = 640, height: int = 360) -> Pixels:
    """Soft shapes of all brightnesses."""
    coarse = np.random.default_rng(1).integers(30, 220, (9, 16, 3), np.uint8)
    return cast(Pixels, cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))


def noisy(picture: Pixels, deviation: float, seed: int) -> Pixels:
    noise = np.random.default_rng(seed).normal(0, deviation, picture.shape)
    return (picture + noise).clip(0, 255).astype(np.uint8)


def patched(picture: Pixels, x: int, y: int, side: int) -> Pixels:
    shown = picture.copy()
    shown[y : y + side, x : x + side] = 255 - shown[y : y + side, x : x + side] // 2
    return shown


def opened(gate: MotionGate, pictures: list[Pixels]) -> list[int]:
    return [n for n, picture in enumerate(pictures) if gate.update(Pyramid.of(picture), n * STEP)]


@pytest.mark.parametrize(("width", "height"), [(640, 360), (1280, 720), (320, 240), (90, 160)])
@pytest.mark.parametrize("deviation", [0, 3, 6])
def test_a_still_scene_is_searched_only_now_and_then(width: int, height: int, deviation: float) -> None:
    pictures = [noisy(scene(width, height), deviation, n) for n in range(3)] * 35
    assert opened(MotionGate(THRESHOLD), pictures) == [0, 50, 100]


def test_something_that_moves_is_searched() -> None:
    moving = [noisy(patched(scene(), 40 * n, 100, 40), 3, n) for n in range(10)]
    assert opened(MotionGate(THRESHOLD), moving) == list(range(10))


def test_what_comes_in_opens_the_gate_once_and_what_stays_does_not() -> None:
    pictures = [scene()] * 5 + [patched(scene(), 300, 100, 40)] * 5 + [scene()] * 5
    assert opened(MotionGate(THRESHOLD), pictures) == [0, 5, 10]


def test_what_is_smaller_than_the_threshold_opens_nothing() -> None:
    share = 40 * 40 / (640 * 360)
    pictures = [scene(), patched(scene(), 300, 100, 40)]
    assert opened(MotionGate(share * 1.5), pictures) == [0]
    assert opened(MotionGate(share / 1.5), pictures) == [0, 1]


def test_slow_drift_is_noticed() -> None:
    # No two neighbours differ by more than noise.
    drifting = [patched(scene(), 100 + n // 4, 100, 60) for n in range(48)]
    searched = opened(MotionGate(THRESHOLD), drifting)
    assert 3 <= len(searched) <= 12
    fading = [(scene() * (1 - n / 100)).astype(np.uint8) for n in range(48)]
    assert len(opened(MotionGate(THRESHOLD), fading)) >= 3


def test_a_threshold_of_nothing_lets_all_through() -> None:
    assert opened(MotionGate(0), [scene()] * 5) == [0, 1, 2, 3, 4]


def test_a_picture_of_another_size_is_no_trouble() -> None:
    assert opened(MotionGate(THRESHOLD), [scene(640, 360), scene(1280, 720), scene(90, 160)])[0] == 0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 300), st.integers(1, 300)), min_size=1, max_size=4), st.floats(0, 1))
def test_pictures_of_any_size_are_judged(sizes: list[tuple[int, int]], threshold: float) -> None:
    gate = MotionGate(threshold)
    blank = [Pyramid.of(np.zeros((height, width, 3), np.uint8)) for width, height in sizes]
    answers = [gate.update(picture, n * STEP) for n, picture in enumerate(blank)]
    assert answers[0]
    assert all(answers[1:]) == (threshold == 0 or len(sizes) == 1)
