"""How far a face can be trusted, and which of its values are only guesses.

The terms and constants were fitted on faces degraded on purpose (shrunk, blurred, darkened, over-exposed): the errors
of age, gender and landmarks fall as quality rises. On good pictures it does not tell better from best.
"""

from typing import Any

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from streamer.face import Floats, Pixels

_MARGIN = 8  # pixels around a chip that are not face

# Below these a value is a guess: eye distance in pixels, sharpness 0-1, degrees, mesh score.
_SMALL_EYES = 16.0
_BLURRED = 0.2
_TURNED_YAW, _TURNED_PITCH = 30.0, 20.0
_REASONS = ("tooSmall", "profile", "blurred", "noLandmarks")


class Quality(msgspec.Struct, frozen=True, eq=False):
    """`overall` (n,) 0-1, and for each face the reasons why its values are guesses."""

    overall: Floats
    reasons: list[tuple[str, ...]]


def face_quality(chips: Pixels, landmarks: Floats, pose: Floats, score: Floats, trusted: NDArray[np.bool_]) -> Quality:
    """Judge faces by aligned chips (n, 64, 64, 3), landmarks (n, 5, 2), pose (n, 3) in degrees and mesh logits (n,);
    `trusted` (n,) tells whose landmarks come from the mesh.
    """
    eyes = np.linalg.norm(landmarks[:, 1] - landmarks[:, 0], axis=1)
    looks = np.array([_look(chip) for chip in chips], np.float32).reshape(-1, 2)
    size = np.clip((eyes - 4) / 24, 0, 1)
    sharp, light = looks[:, 0], looks[:, 1]
    turn = np.exp(-((pose[:, 0] / 45) ** 2) - (pose[:, 1] / 40) ** 2)
    sure = 1 / (1 + np.exp(-(score - 5) / 2.5))
    overall = np.sqrt(size * sharp) * light * turn * sure
    turned = (np.abs(pose[:, 0]) > _TURNED_YAW) | (np.abs(pose[:, 1]) > _TURNED_PITCH)
    doubts = np.stack([eyes < _SMALL_EYES, turned, sharp < _BLURRED, ~trusted], 1)
    reasons = [tuple(r for r, holds in zip(_REASONS, row, strict=True) if holds) for row in doubts]
    return Quality(overall.astype(np.float32), reasons)


def _look(chip: Pixels) -> tuple[float, float]:
    """Sharpness and exposure of a chip, 0-1: detail relative to contrast; contrast, less what is black or white."""
    grey = cv2.cvtColor(chip, cv2.COLOR_BGR2GRAY)[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    contrast = _deviation(grey)
    detail = _deviation(cv2.Laplacian(grey, cv2.CV_16S)[1:-1, 1:-1]) / (contrast + 4)
    clipped = 1 - cv2.countNonZero(cv2.inRange(grey, 8, 247)) / grey.size
    return min(max((detail - 0.05) / 0.3, 0), 1), min(contrast / 22, 1) * max(1 - 2 * clipped, 0)


def _deviation(values: NDArray[Any]) -> float:
    return float(cv2.meanStdDev(values)[1][0, 0])
