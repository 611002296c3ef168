"""Pictures -> model inputs: letterboxes and warped crops."""

import math
from typing import cast

import cv2
import numpy as np

from streamer.analysis.geometry import Letterbox, apply, invert
from streamer.face import Floats, Pixels


def fill_letterbox(picture: Pixels, box: Letterbox, mirrored: bool = False) -> Pixels:
    """The input (1, h, w, 3): `picture`, mirrored if asked, resized into the top left corner, the rest black."""
    width, height = box.inner
    whole = np.zeros((1, *box.shape, 3), np.uint8)
    inner = whole[0, :height, :width]
    # Averaging whole blocks first is several times quicker than averaging by a fraction, and as good.
    factor = min(box.width // width, box.height // height)
    if factor > 1:
        picture = _average(picture, factor)
    if (width, height) == (picture.shape[1], picture.shape[0]):
        inner[:] = picture
    else:
        cv2.resize(picture, (width, height), dst=inner, interpolation=cv2.INTER_LINEAR)
    if mirrored:
        inner[:] = inner[:, ::-1].copy()
    return whole


def warp(picture: Pixels, maps: Floats, size: int) -> Pixels:
    """Squares (n, size, size, 3) cut out of `picture` by maps (n, 2, 3); pixels beyond its edge repeat the edge.

    The surroundings of a face that is larger than the square are averaged down first, so that it does not alias.
    """
    crops = np.empty((len(maps), size, size, 3), np.uint8)
    corners = np.array([[[0, 0], [size, 0], [0, size], [size, size]]], np.float32)
    for crop, affine, square in zip(crops, maps, apply(invert(maps), corners), strict=True):
        source, onto = picture, affine.copy()
        factor = int(1 / max(math.hypot(affine[0, 0], affine[1, 0]), 1e-6))
        if factor > 1:
            left, top = np.clip(np.floor(square.min(0)) - factor, 0, None).astype(int)
            right, bottom = np.clip(np.ceil(square.max(0)) + factor, 0, None).astype(int)
            region = picture[top:bottom, left:right]
            if min(region.shape[:2]) >= factor:
                source = _average(region, factor)
                onto[:, 2] += affine[:, :2] @ (left, top)
                onto[:, :2] *= factor
        # OpenCV counts from the centre of the first pixel, maps from its corner.
        onto[:, 2] += onto[:, :2].sum(1) / 2 - 0.5
        cv2.warpAffine(source, onto, (size, size), dst=crop, borderMode=cv2.BORDER_REPLICATE)
    return crops


def _average(picture: Pixels, factor: int) -> Pixels:
    """`picture` shrunk by a whole factor, each pixel the mean of a block; a rest at the right and bottom is cut off."""
    height, width = picture.shape[0] // factor, picture.shape[1] // factor
    blocks = picture[: height * factor, : width * factor]
    return cast(Pixels, cv2.resize(blocks, (width, height), interpolation=cv2.INTER_AREA))


def sharpen(chip: Pixels) -> Pixels:
    """Give back the detail that shrinking took (unsharp mask, 0.6 at a radius of 0.7 pixels)."""
    return cast(Pixels, cv2.addWeighted(chip, 1.6, cv2.GaussianBlur(chip, (5, 5), 0.7), -0.6, 0))
