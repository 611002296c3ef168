"""Boxes, letterboxes, regions and chips: where things are, and how pictures map onto model inputs.

Coordinates are continuous: pixel i covers i to i + 1. An affine map is float32 (2, 3);
`points @ map[:, :2].T + map[:, 2]` applies it.
"""

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamer.face import Floats

# Where an aligned face chip has the five landmarks, as shares of its side: eyes, nose, lip corners.
CHIP_TEMPLATE: Floats = np.array(
    [[0.2952, 0.2851], [0.6775, 0.2874], [0.4766, 0.5117], [0.3231, 0.6758], [0.6429, 0.6816]], np.float32
)
# The same for the corners of both eyes and the base of the nose: dlib's own alignment (padding 0.2).
ANCHOR_TEMPLATE: Floats = np.array(
    [[0.2290, 0.2954], [0.3815, 0.3065], [0.6044, 0.3064], [0.7569, 0.2954], [0.4929, 0.5913]], np.float32
)
_STRIDE = 32
_LONGEST = 4  # times the input's nominal side, for pictures of extreme shapes


class Letterbox(msgspec.Struct, frozen=True):
    """A picture of `width` x `height`, resized to `inner` (w, h), in the top left of an input of `shape` (h, w)."""

    shape: tuple[int, int]
    inner: tuple[int, int]
    width: int
    height: int

    @property
    def scale(self) -> Floats:
        """Input pixels for a pixel of the picture, along x and y."""
        return np.array([self.inner[0] / self.width, self.inner[1] / self.height], np.float32)


def letterbox(width: int, height: int, scale: float) -> Letterbox:
    """The picture at `scale`, padded to multiples of 32."""
    inner = max(round(width * scale), 1), max(round(height * scale), 1)
    shape = math.ceil(inner[1] / _STRIDE) * _STRIDE, math.ceil(inner[0] / _STRIDE) * _STRIDE
    return Letterbox(shape, inner, width, height)


def area_scale(width: int, height: int, side: int) -> float:
    """The scale at which a picture has the area of a square of `side`, so that any shape costs the same."""
    return min(side / math.sqrt(width * height), _LONGEST * side / max(width, height))


def iou_matrix(a: Floats, b: Floats) -> Floats:
    """Intersection over union of boxes (n, 4) and (m, 4), as (n, m)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    side = np.maximum(high - low, 0)
    inter = side[..., 0] * side[..., 1]
    union = area(a)[:, None] + area(b)[None, :] - inter
    result: Floats = inter / np.maximum(union, 1e-9)
    return result


def area(boxes: Floats) -> Floats:
    """Areas (n,) of boxes (n, 4)."""
    side = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    result: Floats = side[:, 0] * side[:, 1]
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


def chip_maps(points: Floats, template: Floats, size: int, zoom: float = 1.0) -> Floats:
    """Maps (n, 2, 3) from the picture onto aligned chips of `size` pixels, for points (n, 5, 2) that belong where
    `template` says; `zoom` > 1 shows less of the face, larger.
    """
    return similarity(points, ((template - 0.5) * zoom + 0.5) * size)


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
