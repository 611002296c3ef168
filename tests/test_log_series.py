"""Distributions and time lines against the plain lists that they stand for."""

import math
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from streamer.log.series import Distribution, Interval, Timeline

VALUES = st.lists(st.floats(0, 1e7), min_size=1, max_size=200)


def distribution(values: list[float]) -> Distribution:
    made = Distribution()
    for value in values:
        made.add(value)
    return made


@given(VALUES, st.floats(0, 1))
def test_quantiles_are_right_to_one_percent(values: list[float], share: float) -> None:
    exact = sorted(values)[max(math.ceil(share * len(values)), 1) - 1]
    assert math.isclose(distribution(values).quantile(share), exact, rel_tol=0.0101, abs_tol=0.00101)


@given(VALUES, VALUES)
def test_two_together_are_as_one(first: list[float], second: list[float]) -> None:
    merged, both = distribution(first), distribution(first + second)
    merged.merge(distribution(second))
    assert (merged.count, merged.lowest, merged.highest, merged.steps) == (
        both.count,
        both.lowest,
        both.highest,
        both.steps,
    )
    assert math.isclose(merged.total, both.total)
    assert merged.between(0, math.inf) == merged.count


@given(st.lists(st.floats(0, 2.5e11) | st.floats(1.79e9, 1.7901e9), min_size=1, max_size=100))
def test_a_time_line_stays_short_and_loses_nothing(times: list[float]) -> None:
    line = Timeline()
    for at in times:
        line.at(at).frames += 1
    width = line.width
    counts = Counter(int(at // width) * width for at in times)
    assert {begin: part.frames for begin, part in line} == counts
    assert (max(counts) - min(counts)) // width < 240


def test_intervals_add_up() -> None:
    a, b = Interval(), Interval()
    a.frames, a.oldest, a.skipped, a.emotions = 2, 5.0, {"stale": 1}, [0.5] * 7
    b.frames, b.oldest, b.skipped, b.emotions = 3, 9.0, {"stale": 2, "fps": 1}, [0.25] * 7
    a.merge(b)
    assert (a.frames, a.oldest, a.skipped, a.emotions) == (5, 9.0, {"stale": 3, "fps": 1}, [0.75] * 7)
