"""Who is who from picture to picture.

A constant-velocity Kalman filter predicts each face; detections are assigned to predictions at least total cost
(Jonker and Volgenant 1987), first the certain ones and then, as ByteTrack does (Zhang et al. 2022), the faint ones,
which may keep a track alive but never start one. All constants are times or multiples of the face's own height, so that
the result does not depend on the frame rate.
"""

import lap
import msgspec
import numpy as np
from numpy.typing import NDArray

from streamer.analysis.geometry import iou_matrix
from streamer.config import TrackSettings
from streamer.face import Detections, Float64s, Ints

_MEASURED = 0.08  # standard deviation of a detected centre, in face heights
_IMPOSSIBLE = 1e6  # cost of an assignment that must not be made
_DOUBLED = 0.25  # overlap with a better detection from which one does not start a track
_START_SPEED = 2.0  # standard deviation of a new face's speed, in face heights per second
_SIZE_NOISE = 0.12  # standard deviation of a detected log size ...
_SIZE_DRIFT = 0.5  # ... and how fast it may change, per second
_COAST = 0.5  # seconds for which a face is believed to go on as it moved


class Tracked(msgspec.Struct, frozen=True, eq=False):
    """The detections that belong to shown tracks, and the number of each one's track, ids (n,). `alive` are the
    numbers of all tracks that go on, whether or not they are seen in this picture.
    """

    detections: Detections
    ids: Ints
    alive: frozenset[int] = frozenset()


NOBODY = Tracked(Detections.none(), np.zeros(0, np.int64))


class Tracker:
    """`update` with each searched picture's detections, `coast` over the others, in order of time. Numbers are never
    used twice.
    """

    def __init__(self, settings: TrackSettings, first_id: int = 1) -> None:
        self._settings = settings
        self._next_id = first_id
        self._at = 0.0
        self.reset()

    def reset(self) -> None:
        """End all tracks; whoever comes next is somebody new."""
        self._ids: Ints = np.zeros(0, np.int64)
        self._confirmed = np.zeros(0, bool)
        self._born: Float64s = np.zeros(0)
        self._seen: Float64s = np.zeros(0)
        self._sure: Float64s = np.zeros(0)  # when each was last seen with a score from the threshold on
        self._state: Float64s = np.zeros((0, 2, 4))  # position and speed of centre x, y, width, height
        self._spread: Float64s = np.zeros((0, 2, 2))  # their covariance, in squared face heights
        self._shown = NOBODY

    def update(self, detections: Detections, at: float) -> Tracked:
        """The faces to show at time `at` (seconds, not before the last one's); `detections` best first."""
        self._predict(at)
        detections = detections[detections.scores >= self._settings.faint]
        found = _measurements(detections)
        strong = detections.scores >= self._settings.threshold
        match = np.full(len(detections), -1)
        everyone = np.arange(len(self._ids))
        self._assign(match, found, np.flatnonzero(strong), everyone, at)
        self._assign(match, found, np.flatnonzero(~strong), everyone[self._confirmed], at)
        known = match >= 0
        self._correct(match[known], found[known], at)
        self._confirm(match[known], detections.scores[known], at)
        fresh = strong & ~known
        if fresh.any():
            new = np.flatnonzero(fresh & ~_doubled(detections))
            match[new] = self._start(found[new], detections.scores[new], at)
        shown = match >= 0
        shown[shown] = self._confirmed[match[shown]]
        self._shown = Tracked(detections[shown], self._ids[match[shown]], frozenset(self._ids.tolist()))
        return self._shown

    def coast(self, at: float, *, still: bool) -> Tracked:
        """The faces shown last, where they should be at time `at`, in a picture that was not searched.

        `still`: nothing has moved since, so that they are all still where they were.
        """
        shown = self._shown
        rows = np.searchsorted(self._ids, shown.ids)  # numbers are given in rising order
        if still:
            self._at = self._seen[rows] = self._sure[rows] = at
            self._state[rows, 1] = 0
            return shown
        moved = self._state[rows, 0] + self._state[rows, 1] * min(at - self._at, _COAST)
        centre, half = moved[:, :2], np.maximum(moved[:, 2:], 1) / 2
        boxes = np.concatenate([centre - half, centre + half], 1).astype(np.float32)
        return Tracked(Detections(boxes, shown.detections.scores, shown.detections.landmarks), shown.ids, shown.alive)

    def _predict(self, at: float) -> None:
        dt = max(at - self._at, 0.0)
        self._at = at
        # Faint detections alone carry a track no longer than none would: they may be of something else by then.
        alive = at - self._sure <= self._settings.lost
        if not alive.all():
            self._keep(alive)
        move = np.array([[1.0, dt], [0.0, 1.0]])
        q = self._settings.manoeuvre
        noise = q * np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]])
        self._state = move @ self._state
        self._spread = move @ self._spread @ move.T + noise

    def _keep(self, alive: NDArray[np.bool_]) -> None:
        self._ids, self._confirmed = self._ids[alive], self._confirmed[alive]
        self._born, self._seen, self._sure = self._born[alive], self._seen[alive], self._sure[alive]
        self._state, self._spread = self._state[alive], self._spread[alive]

    def _assign(
        self,
        match: Ints,
        found: Float64s,
        rows: NDArray[np.intp],
        tracks: NDArray[np.intp],
        at: float,
    ) -> None:
        """Fill `match` for those `found` in `rows` with those of `tracks`, not yet taken, that explain them best."""
        if not len(rows):
            return
        taken = match >= 0
        free = np.setdiff1d(tracks, match[taken]) if taken.any() else tracks
        if not len(free):
            return
        found, state = found[rows, None], self._state[None, free, 0]
        height = np.maximum(state[..., 3], 1.0)
        place_noise = self._spread[free, 0, 0] + _MEASURED**2
        size_noise = _SIZE_NOISE**2 + (_SIZE_DRIFT * (at - self._seen[free])) ** 2
        place = ((found[..., :2] - state[..., :2]) ** 2).sum(-1) / height**2
        size = np.log(np.maximum(found[..., 2:], 1.0) / np.maximum(state[..., 2:], 1.0)).mean(-1) ** 2
        off = place / place_noise + size / size_noise
        # Minus twice the log likelihood: of two tracks equally far off, the one that was surer of its place wins.
        cost = off + 2 * np.log(place_noise) + np.log(size_noise)
        possible = off < self._settings.gate**2
        taken, _ = lap.lapjv(np.where(possible, cost, _IMPOSSIBLE), extend_cost=True, return_cost=False)
        row = np.flatnonzero(taken >= 0)
        row = row[possible[row, taken[row]]]
        match[rows[row]] = free[taken[row]]

    def _correct(self, tracks: Ints, found: Float64s, at: float) -> None:
        spread = self._spread[tracks]
        gain = spread[:, :, 0] / (spread[:, 0, 0] + _MEASURED**2)[:, None]
        self._state[tracks] += gain[:, :, None] * (found - self._state[tracks, 0])[:, None]
        self._spread[tracks] = spread - gain[:, :, None] * spread[:, None, 0]
        self._seen[tracks] = at

    def _confirm(self, tracks: Ints, scores: NDArray[np.float32], at: float) -> None:
        strong = scores >= self._settings.threshold
        self._sure[tracks[strong]] = at
        old = strong & (at - self._born[tracks] >= self._settings.confirm)
        self._confirmed[tracks] |= old | (scores >= self._settings.sure)

    def _start(self, found: Float64s, scores: NDArray[np.float32], at: float) -> Ints:
        """Begin a track for each of those `found`; their places in the tracker's arrays."""
        n, first = len(found), len(self._ids)
        state = np.zeros((n, 2, 4))
        state[:, 0] = found
        spread = np.broadcast_to(np.diag([_MEASURED**2, _START_SPEED**2]), (n, 2, 2))
        self._ids = np.concatenate([self._ids, np.arange(self._next_id, self._next_id + n)])
        self._confirmed = np.concatenate([self._confirmed, scores >= self._settings.sure])
        self._born = np.concatenate([self._born, np.full(n, at)])
        self._seen = np.concatenate([self._seen, np.full(n, at)])
        self._sure = np.concatenate([self._sure, np.full(n, at)])
        self._state = np.concatenate([self._state, state])
        self._spread = np.concatenate([self._spread, spread])
        self._next_id += n
        return np.arange(first, first + n)


def _doubled(detections: Detections) -> NDArray[np.bool_]:
    """Which of the detections, best first, may be of the same face as a better one."""
    overlap = np.triu(iou_matrix(detections.boxes, detections.boxes), 1)
    result: NDArray[np.bool_] = overlap.max(0, initial=0) > _DOUBLED
    return result


def _measurements(detections: Detections) -> Float64s:
    """Centre x, y, width, height (n, 4) of the boxes."""
    low, high = detections.boxes[:, :2].astype(np.float64), detections.boxes[:, 2:]
    return np.concatenate([(low + high) / 2, high - low], 1)
