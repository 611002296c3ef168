"""When faces are looked at again."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.analysis.looks import Looks
from streamer.face import Float64s, Floats
from tests.test_contract import a_face

FOREVER = math.inf
AWAY = 1.0  # seconds in which a new face is looked at more often


def ids(*numbers: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(numbers, np.int64)


def high(*pixels: float) -> Floats:
    return np.array(pixels, np.float32)


def held(looks: Looks, at: float, interval: float, *numbers: int) -> list[float]:
    """Of faces that are always equally high."""
    answers: Float64s = looks.held(ids(*numbers), high(*[100] * len(numbers)), at, interval)
    return [float(answer) for answer in answers]


def looked_at(looks: Looks, until: float, interval: float, step: float = 0.04, quality: float = 1.0) -> list[float]:
    """When one face, seen every `step` seconds, was looked at."""
    times = []
    for n in range(round(until / step)):
        (since,) = held(looks, n * step, interval, 1)
        looks.judged([a_face(track_id=1, looks_held=since, quality=quality)])
        if not since:
            times.append(n * step)
    return times


def test_new_faces_are_due_and_the_others_say_since_when_not() -> None:
    looks = Looks(forget=10)
    assert held(looks, 5.0, 1.0, 1) == [0]
    assert held(looks, 5.125, 1.0, 1, 2) == [0.125, 0]
    assert held(looks, 5.25, 1.0, 2, 1) == [0.125, 0]
    assert held(looks, 6.5, 1.0) == []
    assert held(looks, 6.5, FOREVER, 1, 2) == [1.25, 1.375]
    assert held(looks, 6.75, 0.0, 1, 2) == [0, 0]
    assert held(looks, 7.5, 1.0, 1, 2) == [0.75, 0.75]
    assert held(looks, 7.75, 1.0, 1, 2) == [0, 0]


def test_a_face_is_looked_at_more_often_while_it_is_new() -> None:
    times = looked_at(Looks(forget=10), 9, interval=1.0)
    steps = np.diff(times)
    new = np.array(times[:-1]) < AWAY - 0.25
    assert steps[new] == pytest.approx(0.28, abs=0.05)
    assert steps[~new][1:] == pytest.approx(1.0, abs=0.05)


def test_a_face_that_was_seen_badly_is_due_sooner() -> None:
    good = looked_at(Looks(forget=10), 10, interval=1.0)
    bad = looked_at(Looks(forget=10), 10, interval=1.0, quality=0.2)
    assert len(bad) == pytest.approx(2 * len(good) - 4, abs=2)


def test_a_face_that_comes_closer_is_due_at_once() -> None:
    looks = Looks(forget=10)
    assert held(looks, 0.0, 1.0, 1) == [0]
    assert held(looks, 2.0, 1.0, 1) == [0]
    assert looks.held(ids(1), high(120), 2.1, 1.0).tolist() == [pytest.approx(0.1)]
    assert looks.held(ids(1), high(130), 2.2, FOREVER).tolist() == [pytest.approx(0.2)], "nobody looks at that one"
    assert looks.held(ids(1), high(130), 2.3, 1.0).tolist() == [0]
    assert looks.held(ids(1), high(130), 2.4, 1.0).tolist() == [pytest.approx(0.1)]


def test_who_was_away_for_long_is_new() -> None:
    looks = Looks(forget=1.0)
    held(looks, 0.0, FOREVER, 1, 2)
    held(looks, 0.9, FOREVER, 2)
    assert held(looks, 1.0, FOREVER, 1, 2) == [1.0, 1.0]
    held(looks, 1.9, FOREVER, 2)
    assert held(looks, 2.5, FOREVER, 1, 2) == [0.0, 2.5]


def test_of_those_who_left_nothing_is_kept() -> None:
    looks = Looks(forget=1.0)
    for n in range(2000):
        held(looks, n * 0.1, 0.5, n, n + 1)
    (kept,) = (len(value) for value in vars(looks).values() if isinstance(value, dict))
    assert kept <= 13


@given(st.lists(st.tuples(st.floats(0, 2), st.sets(st.integers(1, 5)), st.sampled_from([0.0, 0.3, 1.0, FOREVER]))))
def test_what_is_held_is_the_time_since_the_last_look(pictures: list[tuple[float, set[int], float]]) -> None:
    looks, at = Looks(forget=FOREVER), 0.0
    last: dict[int, float] = {}
    for step, seen, interval in pictures:
        at += step
        for number, since in zip(sorted(seen), held(looks, at, interval, *sorted(seen)), strict=True):
            if not since:
                last[number] = at
            assert since == at - last[number]
            assert since < interval or not since, "never longer than that"


@given(st.lists(st.floats(0.01, 0.3), min_size=2, max_size=60), st.floats(0.05, 2))
def test_with_any_rate_of_pictures_a_look_is_never_overdue(steps: list[float], interval: float) -> None:
    looks, times = Looks(forget=10), [0.0]
    at = 0.0
    held(looks, at, interval, 1)
    for step in steps:
        at += step
        if not held(looks, at, interval, 1)[0]:
            times.append(at)
    assert all(b - a < interval + max(steps) + 1e-9 for a, b in pairwise(times))
