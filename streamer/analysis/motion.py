"""Whether anything moved: a still scene need not be searched again."""

from typing import cast

import cv2

from streamer.analysis.pyramid import Pyramid
from streamer.face import Pixels

_COLUMNS, _ROWS = 160, 90
_NOISE = 14  # grey levels that a still camera's picture may flicker
_LONGEST = 2.0  # seconds after which even a still scene is searched again


class MotionGate:
    """Tells which pictures to search: those that differ from the last one searched. `threshold` is the share of the
    picture, 0-1, that must have changed; 0 lets all through.
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self._searched: Pixels | None = None
        self._at = 0.0

    def update(self, picture: Pyramid, at: float) -> bool:
        """Whether to search the `picture` of time `at`; with each one, in order."""
        if not self.threshold:
            return True
        small = _small(picture)
        last = self._searched
        if last is not None and at - self._at < _LONGEST and moved(last, small) < self.threshold:
            return False
        self._searched, self._at = small, at
        return True


def moved(a: Pixels, b: Pixels) -> float:
    """The share of pixels, 0-1, in which two small grey pictures differ by more than noise."""
    return float((cv2.absdiff(a, b) > _NOISE).mean())


def _small(picture: Pyramid) -> Pixels:
    """uint8 (90, 160) grey, blurred enough that noise averages out."""
    grey = picture.grey(4 * _COLUMNS, 4 * _ROWS)
    return cast(Pixels, cv2.resize(grey, (_COLUMNS, _ROWS), interpolation=cv2.INTER_AREA))
