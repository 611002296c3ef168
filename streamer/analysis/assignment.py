"""Who goes with whom, at least total cost."""

import numpy as np
from numpy.typing import NDArray

from streamer.face import Float64s, Ints


def assign(cost: Float64s, possible: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """Rows and columns, pair by pair: as many of the `possible` pairs as there can be, each row and column in one at
    most, and of all such choices that of least total `cost` (rows, columns).
    """
    rows, columns = np.nonzero(possible)
    # Pairs that nobody else competes for, as those of most pictures, need no search.
    alone = (possible.sum(1)[rows] == 1) & (possible.sum(0)[columns] == 1)
    pairs = [(rows[alone], columns[alone])]
    if not alone.all():
        some, others = np.unique(rows[~alone]), np.unique(columns[~alone])
        within = np.ix_(some, others)
        row, column = _search(cost[within], possible[within])
        pairs.append((some[row], others[column]))
    return np.concatenate([pair[0] for pair in pairs]), np.concatenate([pair[1] for pair in pairs])


def _search(cost: Float64s, possible: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """The same by the Hungarian method, in its form with shortest paths."""
    if len(cost) > cost.shape[1]:
        column, row = _search(cost.T, possible.T)
        return row, column
    # One pair that must not be costs more than any difference between those that may.
    span = np.ptp(cost[possible]) + 1
    cost = np.where(possible, cost, cost[possible].max() + span * len(cost))
    taken = _shortest_paths(cost)
    row = np.arange(len(cost))
    fine = possible[row, taken]
    return row[fine], taken[fine]


def _shortest_paths(cost: Float64s) -> Ints:
    """The column of each row (rows,) for a full assignment at least total cost; there are enough columns.

    The rows get theirs one after the other, each along the cheapest path of changes that ends at a free column. Prices
    of columns keep all that is assigned so far at its row's least cost, so that no step of a path is a gain.
    """
    rows, columns = cost.shape
    price, least = np.zeros(columns), np.zeros(rows)
    owner, taken = np.full(columns, -1), np.full(rows, -1)
    for new in range(rows):
        distance, before = np.full(columns, np.inf), np.full(columns, -1)
        open_ = np.ones(columns, bool)
        row, so_far = new, 0.0
        while True:
            through = so_far + cost[row] - least[row] - price
            nearer = open_ & (through < distance)
            distance[nearer], before[nearer] = through[nearer], row
            column = int(np.where(open_, distance, np.inf).argmin())
            so_far = distance[column]
            if owner[column] < 0:
                break
            open_[column] = False
            row = owner[column]
        passed = np.flatnonzero(~open_)
        gain = so_far - distance[passed]
        price[passed] -= gain
        least[owner[passed]] += gain
        least[new] += so_far
        while (
            True
        ):  # back along the path: each row takes the column that it led to, and leaves its own to the one before
            row = owner[column] = before[column]
            column, taken[row] = taken[row], column
            if row == new:
                break
    return taken
