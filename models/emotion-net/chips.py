"""Aligned face chips for the emotion network, made by the program itself: training sees what the pipeline will feed.

Points are pixel indices here: 0 is the centre of the first pixel.
"""

from __future__ import annotations

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from streamer import FaceAnalyzer
from streamer.analysis.geometry import CHIP_TEMPLATE, chip_maps
from streamer.analysis.pyramid import Pyramid
from streamer.face import Face
from streamer.inference.convert import CHIP_SIZE
from streamer.inference.crops import warp

CHIP = CHIP_SIZE
TEMPLATE = CHIP_TEMPLATE.astype(np.float64)
Points = NDArray[np.float64]
Picture = MatLike


def warp_chip(picture: Picture, points: Points) -> Picture:
    """The face chip, uint8 (64, 64, 3) BGR, for the five points (5, 2)."""
    maps = chip_maps(points[None].astype(np.float32) + np.float32(0.5), CHIP_TEMPLATE, CHIP_SIZE)
    return warp(Pyramid.of(picture.astype(np.uint8)), maps, CHIP_SIZE)[0]


def enlarge(picture: Picture) -> tuple[Picture, int, int]:
    """Small pictures as the scorer prepares them: enlarged by a whole factor and padded; also both numbers."""
    if max(picture.shape[:2]) >= 300:
        return picture, 1, 0
    k = max(1, round(200 / max(picture.shape[:2])))
    picture = cv2.resize(picture, None, fx=k, fy=k, interpolation=cv2.INTER_CUBIC)
    pad = max(picture.shape[:2]) // 3
    return cv2.copyMakeBorder(picture, pad, pad, pad, pad, cv2.BORDER_REPLICATE), k, pad


class FivePoints:
    """The five points of the main face of a picture: large and near the middle."""

    def __init__(self) -> None:
        self._analyzer = FaceAnalyzer("realtime")

    def __call__(self, picture: Picture) -> Points | None:
        faces = self._analyzer.analyze(picture.astype(np.uint8))
        if not faces:
            return None
        middle = np.array(picture.shape[1::-1]) / 2

        def rank(face: Face) -> float:
            size = face.box[2:] - face.box[:2]
            offset = float((np.abs((face.box[:2] + face.box[2:]) / 2 - middle) / (2 * middle)).max())
            return face.score * float(np.sqrt(size.prod())) * max(0.05, 1.0 - offset)

        return max(faces, key=rank).landmarks.astype(np.float64) - 0.5
