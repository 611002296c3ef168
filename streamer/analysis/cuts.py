"""Scene cuts: the moments after which nobody can be the same person in the same place."""

from typing import cast

import cv2
import numpy as np

from streamer.analysis.pyramid import Pyramid
from streamer.face import Floats, Pixels

_COLUMNS, _ROWS = 48, 27
_COARSE = 240, 135  # columns, rows
_REACH_X, _REACH_Y = 10, 6  # thumbnail pixels that a moving camera may shift the picture by
_BINS = 6  # of the colour histogram, a channel


class CutDetector:
    """Tells from thumbnails whether a new scene began. `threshold` 0-1 as in `TrackSettings.cut`."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._last: tuple[Pixels, Floats] | None = None

    def update(self, thumb: Pixels) -> bool:
        """With the `thumbnail` of each picture, in order."""
        last, self._last = self._last, (thumb, _histogram(thumb))
        if last is None:
            return False
        # Layout alone changes when a camera swings fast, colours alone when the light does; a cut changes both.
        colours = np.abs(last[1] - self._last[1]).sum() / 2  # the share of pixels that would have to change colour
        return bool(colours > self._threshold) and _layout_change(last[0], thumb) > self._threshold


def thumbnail(picture: Pyramid) -> Pixels:
    """A few pixels, uint8 (27, 48, 3) BGR, that stand for a picture."""
    # Nearest pixels first: averaging all of a large picture would cost more than it tells.
    return cast(Pixels, cv2.resize(picture.coarse(*_COARSE), (_COLUMNS, _ROWS), interpolation=cv2.INTER_AREA))


def _layout_change(a: Pixels, b: Pixels) -> float:
    """1 minus the best correlation of the middle of `b` with any equally large part of `a`."""
    before = cv2.cvtColor(a, cv2.COLOR_BGR2GRAY)
    middle = cv2.cvtColor(b, cv2.COLOR_BGR2GRAY)[_REACH_Y:-_REACH_Y, _REACH_X:-_REACH_X]
    if before.std() < 1 or middle.std() < 1:
        return 0.0 if before.std() < 1 and middle.std() < 1 else 1.0
    return float(np.clip(1 - cv2.matchTemplate(before, middle, cv2.TM_CCOEFF_NORMED).max(), 0, 1))


def _histogram(picture: Pixels) -> Floats:
    counts = cv2.calcHist([picture], [0, 1, 2], None, [_BINS] * 3, [0, 256] * 3)
    return cast(Floats, counts.ravel() / (_ROWS * _COLUMNS))
