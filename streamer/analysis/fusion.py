"""Several readings of one picture, at different sizes or mirrored, become one."""

import numpy as np

from streamer.analysis.geometry import iou_matrix, non_maximum_suppression
from streamer.face import Detections, Floats

_MIRRORED_POINTS = [1, 0, 2, 4, 3]


def mirror(found: Detections, width: int) -> Detections:
    """Detections in a picture of `width` as they are in its mirror image; left stays left."""
    boxes = found.boxes.copy()
    boxes[:, [0, 2]] = width - found.boxes[:, [2, 0]]
    points = found.landmarks[:, _MIRRORED_POINTS].copy()
    points[:, :, 0] = width - points[:, :, 0]
    return Detections(boxes, found.scores, points)


def merge(readings: list[Detections], iou: float) -> Detections:
    """The faces that the readings see together, best first.

    Detections that overlap the best one by `iou` or more are the same face, at most one of each reading. Box and points
    are their mean weighted by score; the score is the mean over all readings, where not seen counts 0.
    """
    boxes = np.concatenate([r.boxes for r in readings])
    scores = np.concatenate([r.scores for r in readings])
    points = np.concatenate([r.landmarks for r in readings])
    reading = np.concatenate([np.full(len(r), i) for i, r in enumerate(readings)])
    order = np.argsort(-scores, kind="stable")
    free = np.ones(len(order), bool)
    members: list[np.ndarray[tuple[int], np.dtype[np.intp]]] = []
    for best in order:
        if not free[best]:
            continue
        near = order[free[order] & (iou_matrix(boxes[best : best + 1], boxes[order])[0] > iou)]
        free[near] = free[best] = False
        seen = near[np.unique(reading[near], return_index=True)[1]]
        members.append(seen if len(seen) else np.array([best]))
    if not members:
        return Detections.none()
    weights = [scores[m] / scores[m].sum() for m in members]
    shapes = np.concatenate([boxes.reshape(-1, 2, 2), points], 1)
    mean = np.stack([np.tensordot(w, shapes[m], 1) for w, m in zip(weights, members, strict=True)]).astype(np.float32)
    votes = np.array([scores[m].sum() / len(readings) for m in members], np.float32)
    merged = Detections(mean[:, :2].reshape(-1, 4), votes, mean[:, 2:])
    return merged[non_maximum_suppression(merged.boxes, merged.scores, iou)]


def probability(scores: Floats, offset: float, slope: float) -> Floats:
    """Merged scores (n,) as the probability that each is a face: a logistic function of their log odds (Platt)."""
    clipped = np.clip(scores.astype(np.float64), 1e-6, 1 - 1e-6)
    result: Floats = (1 / (1 + np.exp(-(offset + slope * np.log(clipped / (1 - clipped)))))).astype(np.float32)
    return result
