"""Raw model outputs -> detections, points, ages. Functions of arrays only."""

from functools import lru_cache

import numpy as np

from streamer.analysis.geometry import Letterbox, non_maximum_suppression
from streamer.face import Detections, Floats

_STRIDES = (8, 16, 32)
# Vertices of the 468-point mesh: corners of the eye on the left of the picture, of the one on the right, the
# nose tip, and the corners of the lips.
_MESH_EYES = ((33, 133), (362, 263))
_MESH_NOSE_LIPS = (4, 61, 291)
_AGES: Floats = np.concatenate([[0.25], np.arange(1, 81)]).astype(np.float32)


@lru_cache(maxsize=64)
def _cells(shape: tuple[int, int]) -> Floats:
    """Column, row and stride (cells, 3) of every YuNet cell of an input of `shape` (h, w)."""
    levels = []
    for stride in _STRIDES:
        rows, columns = np.mgrid[0 : shape[0] // stride, 0 : shape[1] // stride]
        levels.append(np.stack([columns.ravel(), rows.ravel(), np.full(rows.size, stride)], 1))
    return np.concatenate(levels).astype(np.float32)


def yunet(scores: Floats, offsets: Floats, box: Letterbox, threshold: float, nms_iou: float) -> Detections:
    """Faces of one picture, best first, from scores (cells,) and offsets (cells, 14).

    Per cell and in strides: centre dx, dy, log width, log height, five points dx, dy (Wu et al. 2023).
    """
    keep = np.flatnonzero(scores >= threshold)
    cell, raw = _cells(box.shape)[keep], offsets[keep]
    stride = cell[:, 2:]
    centre = (cell[:, :2] + raw[:, :2]) * stride
    half = np.exp(raw[:, 2:4]) * stride / 2
    points = (raw[:, 4:].reshape(-1, 5, 2) + cell[:, None, :2]) * stride[:, None]
    boxes = np.concatenate([centre - half, centre + half], 1)
    scale = np.float32(1 / box.scale)
    found = Detections(boxes * scale, scores[keep], points * scale)
    return found[non_maximum_suppression(found.boxes, found.scores, nms_iou)]


def mesh_landmarks(mesh: Floats) -> Floats:
    """The five landmarks (n, 5, 2) of meshes (n, 468, 2 or 3), in the mesh's own frame."""
    eyes = [mesh[:, pair, :2].mean(1) for pair in _MESH_EYES]
    rest = [mesh[:, vertex, :2] for vertex in _MESH_NOSE_LIPS]
    return np.stack([*eyes, *rest], 1)


def expected_age(probabilities: Floats) -> Floats:
    """Years (n,) from class probabilities (n, 81): the mean over the classes 0.25, 1, 2, ... 80."""
    result: Floats = probabilities @ _AGES / np.maximum(probabilities.sum(1), 1e-9)
    return result
