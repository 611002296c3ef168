"""Boxes, letterboxes, regions and chips: where things are, and how pictures map onto model inputs.

An affine map is float32 (2, 3); `points @ map[:, :2].T + map[:, 2]` applies it.
"""

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamer.face import Floats

# Where dlib's aligned face chip has the five points, as shares of its side: eyes, nose, lip corners.
CHIP_TEMPLATE: Floats = np.array(
    [[0.2952, 0.2851], [0.6775, 0.2874], [0.4766, 0.5117], [0.3231, 0.6758], [0.6429, 0.6816]], np.float32
)
_STRIDE = 32


class Letterbox(msgspec.Struct, frozen=True):
    """A picture of `width` x `height` shrunk by `scale` into the top left corner of an input of `shape` (h, w)."""

    shape: tuple[int, int]
    scale: float
    width: int
    height: int

    @property
    def inner(self) -> tuple[int, int]:
        """Width and height of the shrunken picture inside the input."""
        return (
            min(max(round(self.width * self.scale), 1), self.shape[1]),
            min(max(round(self.height * self.scale), 1), self.shape[0]),
        )


def letterbox(width: int, height: int, size: int) -> Letterbox:
    """The input whose longer side is `size` and whose shorter one is the smallest of a few that wastes little.

    The few (steps of an eighth of `size`, multiples of 32) keep the number of compiled shapes small.
    """
    scale = size / max(width, height)
    step = max(_STRIDE, size // 8 // _STRIDE * _STRIDE)
    short = min(math.ceil(min(width, height) * scale / step - 1e-6) * step, size)
    return Letterbox((short, size) if width >= height else (size, short), scale, width, height)


def iou_matrix(a: Floats, b: Floats) -> Floats:
    """Intersection over union of boxes (n, 4) and (m, 4), as (n, m)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = np.prod(np.maximum(high - low, 0), axis=2)
    union = area(a)[:, None] + area(b)[None, :] - inter
    result: Floats = inter / np.maximum(union, 1e-9)
    return result


def area(boxes: Floats) -> Floats:
    """Areas (n,) of boxes (n, 4)."""
    result: Floats = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)
    return result


def non_maximum_suppression(boxes: Floats, scores: Floats, iou: float) -> NDArray[np.intp]:
    """Indices of the boxes that stay, best first: a box goes if a better one covers it by more than `iou`."""
    order = np.argsort(-scores, kind="stable")
    overlap = iou_matrix(boxes[order], boxes[order]) > iou
    alive = np.ones(len(order), bool)
    for i in range(len(order)):
        if alive[i]:
            alive[i + 1 :] &= ~overlap[i, i + 1 :]
    return order[alive]


def similarity(source: Floats, target: Floats) -> Floats:
    """The rotation, uniform scale and shift that bring points (n, k, 2) closest to `target` (k, 2), as (n, 2, 3).

    Least squares, without mirroring (Umeyama 1991, in closed form for two dimensions).
    """
    centre, goal = source.mean(1, keepdims=True), target.mean(0)
    p, q = source - centre, target - goal
    spread = np.maximum((p**2).sum((1, 2)), 1e-9)
    a = (p * q).sum((1, 2)) / spread
    b = (p[..., 0] * q[..., 1] - p[..., 1] * q[..., 0]).sum(1) / spread
    turn = np.stack([np.stack([a, -b], -1), np.stack([b, a], -1)], 1)
    shift = goal - np.einsum("nij,nj->ni", turn, centre[:, 0])
    result: Floats = np.concatenate([turn, shift[..., None]], 2).astype(np.float32)
    return result


def chip_maps(landmarks: Floats, size: int) -> Floats:
    """Maps (n, 2, 3) from the picture onto aligned chips of `size` pixels, for landmarks (n, 5, 2)."""
    return similarity(landmarks, CHIP_TEMPLATE * size)


def region_maps(boxes: Floats, landmarks: Floats, scale: float, size: int) -> Floats:
    """Maps (n, 2, 3) from the picture onto squares of `size` pixels: `scale` x the box's longer side, eyes level."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    side = np.maximum((boxes[:, 2:] - boxes[:, :2]).max(1), 1e-3) * scale
    eyes = landmarks[:, 1] - landmarks[:, 0]
    angle = np.arctan2(eyes[:, 1], eyes[:, 0])
    k = size / side
    cos, sin = np.cos(angle) * k, np.sin(angle) * k
    turn = np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], 1)
    shift = size / 2 - np.einsum("nij,nj->ni", turn, centre)
    result: Floats = np.concatenate([turn, shift[..., None]], 2).astype(np.float32)
    return result


def invert(maps: Floats) -> Floats:
    """The inverse of similarity maps (n, 2, 3)."""
    a, b = maps[:, 0, 0], maps[:, 1, 0]
    norm = np.maximum(a * a + b * b, 1e-12)
    turn = np.stack([np.stack([a, b], -1), np.stack([-b, a], -1)], 1) / norm[:, None, None]
    shift = -np.einsum("nij,nj->ni", turn, maps[:, :, 2])
    result: Floats = np.concatenate([turn, shift[..., None]], 2).astype(np.float32)
    return result


def apply(maps: Floats, points: Floats) -> Floats:
    """Points (n, k, 2) under maps (n, 2, 3)."""
    result: Floats = np.einsum("nij,nkj->nki", maps[:, :, :2], points) + maps[:, None, :, 2]
    return result
