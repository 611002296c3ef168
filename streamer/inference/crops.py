"""Pictures -> model inputs: letterboxes and warped crops."""

import math
from typing import cast

import cv2
import numpy as np

from streamer.analysis.geometry import Letterbox
from streamer.face import Floats, Pixels


def fill_letterbox(picture: Pixels, box: Letterbox, mirrored: bool = False) -> Pixels:
    """The input (1, h, w, 3): `picture`, mirrored if asked, resized into the top left corner, the rest black."""
    width, height = box.inner
    whole = np.zeros((1, *box.shape, 3), np.uint8)
    inner = whole[0, :height, :width]
    shrinks = width * height < box.width * box.height
    if (width, height) == (box.width, box.height):
        inner[:] = picture
    else:
        cv2.resize(picture, (width, height), dst=inner, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    if mirrored:
        inner[:] = inner[:, ::-1].copy()
    return whole


def warp(picture: Pixels, maps: Floats, size: int) -> Pixels:
    """Squares (n, size, size, 3) cut out of `picture` by maps (n, 2, 3); pixels beyond its edge repeat the edge.

    Faces larger than the square are sampled more densely and averaged, so that they do not alias.
    """
    crops = np.empty((len(maps), size, size, 3), np.uint8)
    for crop, affine in zip(crops, maps, strict=True):
        scale = math.hypot(affine[0, 0], affine[1, 0])
        dense = min(math.ceil(1 / max(scale, 1e-6) - 1e-3), 8)
        fine = affine * dense
        # OpenCV counts from the centre of the first pixel, maps from its corner.
        fine[:, 2] += fine[:, :2].sum(1) / 2 - 0.5
        if dense == 1:
            cv2.warpAffine(picture, fine, (size, size), dst=crop, borderMode=cv2.BORDER_REPLICATE)
            continue
        large = cv2.warpAffine(picture, fine, (size * dense, size * dense), borderMode=cv2.BORDER_REPLICATE)
        cv2.resize(large, (size, size), dst=crop, interpolation=cv2.INTER_AREA)
    return crops


def sharpen(chip: Pixels) -> Pixels:
    """Give back the detail that shrinking took (unsharp mask, 0.6 at a radius of 0.7 pixels)."""
    return cast(Pixels, cv2.addWeighted(chip, 1.6, cv2.GaussianBlur(chip, (5, 5), 0.7), -0.6, 0))
