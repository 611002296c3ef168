"""Which parts of a picture must be hidden so that nobody in it can be known.

A detector misses faces now and then: turned away, blurred by their motion, half behind something. So a face is hidden,
too, where it was seen a moment before or will be seen a moment later, unless it is known to have gone elsewhere.
"""

from collections.abc import Iterable

import msgspec
import numpy as np

from streamer.face import Floats, FrameResult, Ints

_DRIFT = 0.3  # of its size, to each side, that a face may move in a second while it is not seen
_COVERED = 0.7  # share of a box from which it needs no hiding of its own
_LIKELY = 0.5  # score from which something is hidden that is no face by the tracker's word
_NO_TRACK = -1


class Sighting(msgspec.Struct, frozen=True, eq=False):
    """What was taken for a face in the picture at `at` (seconds): boxes (n, 4) and the numbers (n,) of their tracks."""

    at: float
    boxes: Floats
    tracks: Ints


def sighting(result: FrameResult, at: float) -> Sighting:
    """The faces of a result, and whatever else in its picture is likely one."""
    boxes, tracks = list[Floats](), list[int]()
    for face in result.faces:
        for box in (face.box,) if face.raw is None else (face.box, face.raw.box):
            boxes.append(box)
            tracks.append(_NO_TRACK if face.track_id is None else face.track_id)
    for box in result.found.boxes[result.found.scores >= _LIKELY]:
        if not _covered(box, boxes):
            boxes.append(box)
            tracks.append(_NO_TRACK)
    return Sighting(at, np.array(boxes, np.float32).reshape(-1, 4), np.array(tracks, np.int64))


def to_hide(now: Sighting, others: Iterable[Sighting]) -> Floats:
    """Boxes (n, 4) to hide in a picture, given what was seen in it and in `others`, shortly before and after it.

    A box of another picture is one of them if its face has no other place in this one. It is larger the longer ago that
    was, or will be.
    """
    hidden, here = list(now.boxes), set(now.tracks.tolist()) - {_NO_TRACK}
    for other in sorted(others, key=lambda other: abs(other.at - now.at)):
        reach = _DRIFT * abs(other.at - now.at)
        for box, track in zip(other.boxes, other.tracks.tolist(), strict=True):
            if track in here or _covered(box, hidden):
                continue
            hidden.append(_grown(box, reach))
            if track != _NO_TRACK:
                here.add(track)
    return np.array(hidden, np.float32).reshape(-1, 4)


def _covered(box: Floats, others: list[Floats]) -> bool:
    if not others:
        return False
    by = np.array(others)
    low, high = np.maximum(box[:2], by[:, :2]), np.minimum(box[2:], by[:, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=1)
    return bool(shared.max() >= _COVERED * np.prod(box[2:] - box[:2]))


def _grown(box: Floats, reach: float) -> Floats:
    more = reach * (box[2:] - box[:2])
    return np.concatenate([box[:2] - more, box[2:] + more])
