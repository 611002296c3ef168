"""Pictures -> model inputs: letterboxes and warped crops."""

import math

import cv2
import numpy as np

from streamer.analysis.geometry import Letterbox
from streamer.face import Floats, Pixels

_SHRINK = 0.6  # scale below which one bilinear sample would skip pixels


def fill_letterbox(picture: Pixels, box: Letterbox) -> Pixels:
    """The input (1, h, w, 3): `picture` shrunk into its top left corner, the rest black."""
    height, width = box.shape
    inner_width, inner_height = box.inner
    whole = np.zeros((1, height, width, 3), np.uint8)
    inner = whole[0, :inner_height, :inner_width]
    if (inner_width, inner_height) == (picture.shape[1], picture.shape[0]):
        inner[:] = picture
    else:
        cv2.resize(picture, (inner_width, inner_height), dst=inner, interpolation=cv2.INTER_LINEAR)
    return whole


def warp(picture: Pixels, maps: Floats, size: int) -> Pixels:
    """Squares (n, size, size, 3) cut out of `picture` by maps (n, 2, 3); pixels beyond its edge repeat the edge.

    Faces much larger than the square are sampled more densely and averaged, so that they do not alias.
    """
    crops = np.empty((len(maps), size, size, 3), np.uint8)
    for crop, affine in zip(crops, maps, strict=True):
        scale = math.hypot(affine[0, 0], affine[1, 0])
        dense = min(math.ceil(_SHRINK / max(scale, 1e-6)), 8)
        if dense == 1:
            cv2.warpAffine(picture, affine, (size, size), dst=crop, borderMode=cv2.BORDER_REPLICATE)
            continue
        large = affine * dense
        large[:, 2] += (dense - 1) / 2
        fine = cv2.warpAffine(picture, large, (size * dense, size * dense), borderMode=cv2.BORDER_REPLICATE)
        cv2.resize(fine, (size, size), dst=crop, interpolation=cv2.INTER_AREA)
    return crops
