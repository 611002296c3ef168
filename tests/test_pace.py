"""Even rates out of uneven ones, and when faces are looked at again."""

import math
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.analysis.pace import Looks, Pace
from streamer.face import Float64s

FOREVER = math.inf


def times(fps: float, seconds: float, jitter: float) -> Float64s:
    """When pictures come, each up to `jitter` of a step early or late."""
    steps = np.arange(round(seconds * fps))
    noise: Float64s = np.random.default_rng(1).uniform(-jitter, jitter, len(steps))
    return (steps + noise) / fps


@pytest.mark.parametrize("jitter", [0.0, 0.2])
@pytest.mark.parametrize("fps", [7, 12.5, 15, 25, 30, 60])
@pytest.mark.parametrize("wanted", [1, 5, 10, 15, 25, 30])
def test_the_rate_is_right_in_the_long_run(fps: float, wanted: float, jitter: float) -> None:
    pace = Pace(1 / wanted)
    let_through = sum(pace.due(at) for at in times(fps, 100, jitter))
    assert let_through == pytest.approx(100 * min(fps, wanted), rel=0.01, abs=1)


def test_it_is_even() -> None:
    pace = Pace(0.2)
    assert [n for n in range(26) if pace.due(n * 0.04)] == [0, 4, 9, 14, 19, 24]


def test_no_period_lets_all_through() -> None:
    pace = Pace(0)
    assert all(pace.due(at) for at in (0.0, 0.0, 0.1, 0.1, 5.0))


def test_after_a_gap_it_begins_again_and_makes_nothing_good() -> None:
    pace = Pace(1.0)
    moments = [0.0, 0.5, 1.0, 60.0, 60.1, 60.5, 61.0, 61.5, 62.0]
    assert [at for at in moments if pace.due(at)] == [0.0, 1.0, 60.0, 61.0, 62.0]


@given(st.lists(st.floats(0.001, 3), min_size=1, max_size=200), st.floats(0.02, 1))
def test_never_more_than_the_rate_allows_and_something_in_every_two_periods(steps: list[float], period: float) -> None:
    pace, moments = Pace(period), list(accumulate(steps))
    due = [at for at in moments if pace.due(at)]
    for first, start in enumerate(due):
        for count, end in enumerate(due[first:], 1):
            assert count <= (end - start) / period + 2.25 + 1e-6
    assert due[0] == moments[0]
    for at in moments:
        assert any(at - 2 * period <= other <= at for other in due)


def ids(*numbers: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(numbers, np.int64)


def test_new_faces_are_due_and_the_others_say_since_when_not() -> None:
    looks = Looks(forget=10)
    assert looks.held(ids(1), 5.0, 1.0).tolist() == [0]
    assert looks.held(ids(1, 2), 5.25, 1.0).tolist() == [0.25, 0]
    assert looks.held(ids(2, 1), 5.75, 1.0).tolist() == [0.5, 0.75]
    assert looks.held(ids(1, 2), 6.0, 1.0).tolist() == [0, 0.75]
    assert looks.held(ids(), 6.1, 1.0).tolist() == []
    assert looks.held(ids(1, 2), 6.5, FOREVER).tolist() == [0.5, 1.25]
    assert looks.held(ids(1, 2), 7.5, 0.0).tolist() == [0, 0]


def test_a_shorter_interval_counts_at_once() -> None:
    looks = Looks(forget=10)
    looks.held(ids(1), 0.0, 1.0)
    assert looks.held(ids(1), 0.5, 1.0).tolist() == [0.5]
    assert looks.held(ids(1), 0.75, 0.7).tolist() == [0]


def test_who_was_away_for_long_is_new() -> None:
    looks = Looks(forget=1.0)
    looks.held(ids(1, 2), 0.0, FOREVER)
    looks.held(ids(2), 0.9, FOREVER)
    assert looks.held(ids(1, 2), 1.0, FOREVER).tolist() == [1.0, 1.0]
    looks.held(ids(2), 2.5, FOREVER)
    assert looks.held(ids(1, 2), 2.6, FOREVER).tolist() == [0.0, 2.6]


def test_of_those_who_left_nothing_is_kept() -> None:
    looks = Looks(forget=1.0)
    for n in range(2000):
        looks.held(ids(n, n + 1), n * 0.1, 0.5)
    kept = [len(value) for value in vars(looks).values() if isinstance(value, dict)]
    assert len(kept) == 2
    assert max(kept) <= 13


@given(st.lists(st.tuples(st.floats(0, 2), st.sets(st.integers(1, 5)), st.sampled_from([0.0, 0.3, 1.0, FOREVER]))))
def test_what_is_held_is_the_time_since_the_last_look(pictures: list[tuple[float, set[int], float]]) -> None:
    looks, at = Looks(forget=FOREVER), 0.0
    last: dict[int, float] = {}
    for step, seen, interval in pictures:
        at += step
        for number, held in zip(sorted(seen), looks.held(ids(*sorted(seen)), at, interval), strict=True):
            due = number not in last or at - last[number] >= interval
            if due:
                last[number] = at
            assert held == at - last[number]
