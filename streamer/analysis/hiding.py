"""Which parts of a picture must be hidden so that nobody in it can be known.

A detector misses faces now and then: turned away, blurred by their motion, half behind something. So a face is hidden,
too, where it was seen a moment before or will be seen a moment later, unless it is known to have gone elsewhere.
"""

from collections.abc import Iterable

import msgspec
import numpy as np

from streamer.face import Floats, FrameResult, Ints

_DRIFT = 0.5  # of its size, to each side, that a face may move in a second while it is not seen
_COVERED = 0.7  # share of a box from which it needs no hiding of its own
_LIKELY = 0.5  # score from which something is hidden that is no face by the tracker's word
_NO_TRACK = -1


class Sighting(msgspec.Struct, frozen=True, eq=False):
    """What was taken for a face in the picture at `at` (seconds): boxes (n, 4) and the numbers (n,) of their tracks."""

    at: float
    boxes: Floats
    tracks: Ints


def sighting(result: FrameResult, at: float) -> Sighting:
    """The faces of a result, and whatever else the detector found in its picture."""
    faces = result.faces
    boxes = [face.box for face in faces]
    found = result.found.boxes[result.found.scores >= _LIKELY]
    raw = [face.raw.box for face in faces if face.raw is not None]
    every = np.concatenate([np.array([*boxes, *raw], np.float32).reshape(-1, 4), found])
    tracks = np.full(len(every), _NO_TRACK)
    tracks[: len(faces)] = [_NO_TRACK if face.track_id is None else face.track_id for face in faces]
    return Sighting(at, every, tracks)


def to_hide(now: Sighting, others: Iterable[Sighting]) -> Floats:
    """Boxes (n, 4) to hide in a picture, given what was seen in it and in `others`, shortly before and after it.

    A box of another picture is one of them if its face has no other place in this one. It is larger the longer ago that
    was, or will be.
    """
    hidden, here = list(now.boxes), set(now.tracks.tolist()) - {_NO_TRACK}
    for other in sorted(others, key=lambda other: abs(other.at - now.at)):
        reach = _DRIFT * abs(other.at - now.at)
        for box, track in zip(other.boxes, other.tracks.tolist(), strict=True):
            if track in here or (hidden and _covered(box, np.array(hidden))):
                continue
            hidden.append(_grown(box, reach))
            if track != _NO_TRACK:
                here.add(track)
    return np.array(hidden, np.float32).reshape(-1, 4)


def _covered(box: Floats, by: Floats) -> bool:
    low, high = np.maximum(box[:2], by[:, :2]), np.minimum(box[2:], by[:, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=1)
    return bool(shared.max() >= _COVERED * np.prod(box[2:] - box[:2]))


def _grown(box: Floats, reach: float) -> Floats:
    more = reach * (box[2:] - box[:2])
    return np.concatenate([box[:2] - more, box[2:] + more])
