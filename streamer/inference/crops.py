"""Pictures -> model inputs: letterboxes and warped crops."""

import math
from collections.abc import Sequence
from typing import cast

import cv2
import numpy as np

from streamer.analysis.geometry import Letterbox, apply, invert
from streamer.analysis.pyramid import Pyramid
from streamer.face import Floats, Pixels


def fill_letterbox(picture: Pyramid, box: Letterbox, mirrored: bool = False) -> Pixels:
    """The input (1, h, w, 3): `picture`, mirrored if asked, resized into the top left corner, the rest black."""
    width, height = box.inner
    whole = np.zeros((1, *box.shape, 3), np.uint8)
    inner = whole[0, :height, :width]
    # Averaging whole blocks first is several times quicker than averaging by a fraction, and as good.
    pixels = picture.level(picture.factor(max(width / box.width, height / box.height)))
    if (width, height) == (pixels.shape[1], pixels.shape[0]):
        inner[:] = pixels
    else:
        cv2.resize(pixels, (width, height), dst=inner, interpolation=cv2.INTER_LINEAR)
    if mirrored:
        inner[:] = inner[:, ::-1].copy()
    return whole


def warp(pictures: Sequence[Pyramid], maps: Floats, size: int) -> Pixels:
    """Squares (n, size, size, 3) cut out of n `pictures` by maps (n, 2, 3); pixels beyond an edge repeat the edge.

    A face that is larger than the square is taken from a smaller level, so that it does not alias.
    """
    crops = np.empty((len(maps), size, size, 3), np.uint8)
    corners = np.array([[[0, 0], [size, 0], [0, size], [size, size]]], np.float32)
    for picture, crop, affine, square in zip(pictures, crops, maps, apply(invert(maps), corners), strict=True):
        patch = picture.patch(square, max(math.hypot(affine[0, 0], affine[1, 0]), 1e-6))
        onto = patch.onto(affine)
        # OpenCV counts from the centre of the first pixel, maps from its corner.
        onto[:, 2] += onto[:, :2].sum(1) / 2 - 0.5
        warped = cv2.warpAffine(patch.pixels, onto, (size, size), borderMode=cv2.BORDER_REPLICATE)
        cv2.cvtColor(warped, cv2.COLOR_BGRA2BGR, dst=crop)
    return crops


def sharpen(chip: Pixels) -> Pixels:
    """Give back the detail that shrinking took (unsharp mask, 0.6 at a radius of 0.7 pixels)."""
    return cast(Pixels, cv2.addWeighted(chip, 1.6, cv2.GaussianBlur(chip, (5, 5), 0.7), -0.6, 0))
