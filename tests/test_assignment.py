"""Assignment, against trying every one there is."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamer.analysis.assignment import assign
from streamer.face import Float64s


def best(cost: Float64s, possible: NDArray[np.bool_]) -> tuple[int, float]:
    """How many pairs there can be, and the least that so many cost."""
    if len(cost) > cost.shape[1]:
        return best(cost.T, possible.T)
    rows = np.arange(len(cost))
    tried: list[tuple[int, float]] = []
    for columns in itertools.permutations(range(cost.shape[1]), len(cost)):
        fine = possible[rows, columns]
        tried.append((int(fine.sum()), float(cost[rows, columns][fine].sum())))
    return min(tried, key=lambda found: (-found[0], found[1]))


@given(st.integers(1, 5), st.integers(1, 6), st.sampled_from([0.3, 0.6, 1.0]), st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=200)
def test_no_assignment_is_better(rows: int, columns: int, dense: float, seed: int, ties: bool) -> None:
    random = np.random.default_rng(seed)
    cost = random.normal(0, 10, (rows, columns))
    cost = np.round(cost / 5) if ties else cost
    possible = random.random(cost.shape) < dense
    row, column = assign(cost, possible)
    assert len(set(row.tolist())) == len(set(column.tolist())) == len(row)
    assert possible[row, column].all()
    count, least = best(cost, possible)
    assert len(row) == count
    assert cost[row, column].sum() == pytest.approx(least)


def test_the_one_that_has_no_other_choice_comes_first() -> None:
    cost = np.array([[0.0, 1.0], [5.0, 99.0]])
    possible = np.array([[True, True], [True, False]])
    row, column = assign(cost, possible)
    assert dict(zip(row.tolist(), column.tolist(), strict=True)) == {0: 1, 1: 0}


def test_nobody_has_to_be_matched() -> None:
    row, column = assign(np.zeros((3, 2)), np.zeros((3, 2), bool))
    assert len(row) == len(column) == 0


def test_a_crowd_that_changed_places() -> None:
    """Costs by which every row wants its own column, and the neighbours' nearly as much."""
    order = np.random.default_rng(8).permutation(60)
    distance = np.abs(order[:, None] - np.arange(60)).astype(float)
    row, column = assign(distance, distance < 20)
    assert np.array_equal(column[np.argsort(row)], order)
