"""Raw model outputs -> detections, points, ages. Functions of arrays only."""

from functools import lru_cache

import numpy as np

from streamer.analysis.geometry import Letterbox, non_maximum_suppression
from streamer.face import Detections, Floats

_STRIDES = (8, 16, 32)
_AGE_PUSH = 0.4
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
    return _in_picture(boxes, scores[keep], points, box, nms_iou)


def centerface(
    heat: Floats, size: Floats, offset: Floats, points: Floats, box: Letterbox, threshold: float, nms_iou: float
) -> Detections:
    """Faces of one picture, best first, from maps at a quarter of the input's resolution: heat (h, w), log size and
    offset of the centre (2, h, w), each height before width, and points (10, h, w) in shares of the box.

    As Xu et al. 2019 define them.
    """
    row, column = np.nonzero(heat > threshold)
    high, wide = np.exp(size[:, row, column]) * np.float32(4)
    top = (row + offset[0, row, column] + 0.5) * 4 - high / 2
    left = (column + offset[1, row, column] + 0.5) * 4 - wide / 2
    boxes = np.stack([left, top, left + wide, top + high], 1).astype(np.float32)
    shares = points[:, row, column].T.reshape(-1, 5, 2)[:, :, ::-1]
    marks = boxes[:, None, :2] + shares * np.stack([wide, high], 1)[:, None]
    return _in_picture(boxes, heat[row, column], marks.astype(np.float32), box, nms_iou)


def _in_picture(boxes: Floats, scores: Floats, points: Floats, box: Letterbox, nms_iou: float) -> Detections:
    """Detections in pixels of the input as those in pixels of the picture, without duplicates, best first."""
    kept = non_maximum_suppression(boxes, scores, nms_iou)
    scale = box.scale
    return Detections(boxes[kept] / np.concatenate([scale, scale]), scores[kept], points[kept] / scale)


def calibrated_age(probabilities: Floats) -> Floats:
    """Years (n,) from class probabilities (n, 81) of the ages 0.25, 1, 2, ... 80.

    The mean, pushed away from 30 in proportion to the spread of the distribution: an unsure network falls back
    towards the middle of the ages it was trained on. Held out, this takes 0.2 years off the error on UTKFace.
    """
    shares = probabilities / np.maximum(probabilities.sum(1, keepdims=True), 1e-9)
    mean = (shares * _AGES).sum(1)  # row by row: a matrix product's last digits depend on the other rows
    spread = np.sqrt(np.maximum((shares * _AGES**2).sum(1) - mean**2, 0))
    push = _AGE_PUSH * spread * np.tanh((mean - 30) / 10) * np.clip((mean - 5) / 5, 0, 1)
    result: Floats = np.clip(mean + push, 0, 95).astype(np.float32)
    return result
