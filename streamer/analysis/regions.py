"""Which part of the picture counts: a region of interest, and masks over what must not be analysed."""

import cv2
import numpy as np
from numpy.typing import NDArray

from streamer.config import WHOLE_PICTURE, Polygon
from streamer.face import Detections, Floats

Window = tuple[int, int, int, int]
"""Left, top, right and bottom, in pixels; all even, but for the edges of the picture."""


class Regions:
    """`region` and `masks` are polygons whose points are x, y as shares of the picture's width and height."""

    def __init__(self, region: Polygon, masks: tuple[Polygon, ...]) -> None:
        self._region = None if region == WHOLE_PICTURE else np.array(region, np.float32)
        self._masks = [np.array(mask, np.float32) for mask in masks]

    def window(self, width: int, height: int) -> Window:
        """The part of a picture that holds the region: nothing else need be looked at."""
        if self._region is None:
            return 0, 0, width, height
        size = np.array([width, height])
        low, high = self._region.min(0) * size, self._region.max(0) * size
        left, top = 2 * np.floor(low / 2).clip(0, (size - 1) // 2).astype(int)
        right, bottom = np.minimum(2 * np.ceil(high / 2).clip(np.array([left, top]) // 2 + 1), size).astype(int)
        return int(left), int(top), int(right), int(bottom)

    def placed(self, found: Detections, width: int, height: int) -> Detections:
        """What was found in the window of a picture, in pixels of the whole picture."""
        corner = np.array(self.window(width, height)[:2], np.float32)
        if not corner.any():
            return found
        return Detections(found.boxes + np.tile(corner, 2), found.scores, found.landmarks + corner)

    def counts(self, placed: Detections, width: int, height: int) -> NDArray[np.bool_]:
        """Which of n faces in a picture (n,) have their centre in the region and in no mask."""
        centres = (placed.boxes[:, :2] + placed.boxes[:, 2:]) * np.array([0.5 / width, 0.5 / height], np.float32)
        keep = np.ones(len(placed), bool) if self._region is None else _inside(self._region, centres)
        for mask in self._masks:
            keep &= ~_inside(mask, centres)
        return keep


def _inside(polygon: Floats, points: Floats) -> NDArray[np.bool_]:
    tests = [cv2.pointPolygonTest(polygon, (float(x), float(y)), measureDist=False) >= 0 for x, y in points]
    return np.array(tests, bool)
