"""How far a face can be trusted: 0 (its values are guesses) to 1. Weighs what a frame adds to a track."""

import cv2
import numpy as np

from streamer.face import Floats, Pixels

_SMALL, _LARGE = 16.0, 80.0  # box heights in pixels from which a face says nothing, and everything
_BLURRED, _SHARP = 4.0, 14.0  # mean absolute Laplacian of the chip, in grey levels
_FRONTAL, _PROFILE = 0.15, 0.75  # how far the nose is off the middle between the eyes, in eye distances


def face_quality(chips: Pixels, boxes: Floats, landmarks: Floats, scores: Floats) -> Floats:
    """Quality (n,) from chips (n, s, s, 3), boxes (n, 4), landmarks (n, 5, 2) and scores (n,) 0-1."""
    size = _ramp(boxes[:, 3] - boxes[:, 1], _SMALL, _LARGE)
    sharp = _ramp(np.array([_sharpness(chip) for chip in chips], np.float32), _BLURRED, _SHARP)
    frontal = 1 - _ramp(_turned(landmarks), _FRONTAL, _PROFILE)
    result: Floats = scores * size * (0.25 + 0.75 * sharp) * (0.1 + 0.9 * frontal)
    return result.astype(np.float32)


def _ramp(x: Floats, low: float, high: float) -> Floats:
    result: Floats = np.clip((x - low) / (high - low), 0, 1)
    return result


def _sharpness(chip: Pixels) -> float:
    return float(np.abs(cv2.Laplacian(cv2.cvtColor(chip, cv2.COLOR_BGR2GRAY), cv2.CV_16S)).mean())


def _turned(landmarks: Floats) -> Floats:
    """How far the nose is off the middle line between the eyes, in eye distances."""
    across = landmarks[:, 1] - landmarks[:, 0]
    nose = landmarks[:, 2] - (landmarks[:, 0] + landmarks[:, 1]) / 2
    result: Floats = np.abs((nose * across).sum(1)) / np.maximum((across**2).sum(1), 1e-3)
    return result
