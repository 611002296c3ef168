"""Scene cuts: the moments after which nobody can be the same person in the same place."""

import cv2
import numpy as np

from streamer.face import Floats, Pixels

_COLUMNS, _ROWS = 32, 18


class CutDetector:
    """Tells from small grey pictures whether a new scene began. `threshold` 0-1 as in `TrackSettings.cut`."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._last: Floats | None = None

    def update(self, thumb: Floats) -> bool:
        """With the `thumbnail` of each picture, in order."""
        last, self._last = self._last, thumb
        return last is not None and change(last, thumb) > self._threshold


def thumbnail(picture: Pixels) -> Floats:
    """A few grey pixels, float32 (18, 32), that stand for a BGR picture."""
    # Nearest pixels of the whole first: averaging all of a large picture would cost more than it tells.
    coarse = picture[:: max(picture.shape[0] // 144, 1), :: max(picture.shape[1] // 256, 1)]
    small = cv2.resize(coarse, (_COLUMNS, _ROWS), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_BGR2GRAY).astype(np.float32)


def change(a: Floats, b: Floats) -> float:
    """How unlike two thumbnails are: 1 minus their correlation, between 0 and 1; blind to brightness and contrast."""
    a, b = a - a.mean(), b - b.mean()
    power = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return 0.0 if power < 1e-3 else float(np.clip(1 - float((a * b).sum()) / power, 0, 1))
