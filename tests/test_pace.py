"""Even rates out of uneven ones."""

from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.analysis.pace import Pace
from streamer.face import Float64s


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
