"""A picture at its own size, at half of it, a quarter ..., each made when it is first asked for."""

from typing import Protocol, cast, runtime_checkable

import cv2
import msgspec
import numpy as np

from streamer.face import Floats, Pixels

_MARGIN = 0.1  # of the side of a square: what is cut out next of the same face lies mostly within


@runtime_checkable
class Raster(Protocol):
    """The pixels of a picture of `width` x `height`, uint8 BGR, converted when asked, in the caller's thread."""

    width: int
    height: int

    def __call__(self) -> Pixels:
        """All of them, (height, width, 3)."""

    def half(self) -> Pixels:
        """(height // 2, width // 2, 3), each the mean of four."""

    def part(self, left: int, top: int, right: int, bottom: int) -> Pixels:
        """(bottom - top, right - left, 3); all are even, but for the edges of the picture."""

    def grey(self, width: int, height: int) -> Pixels:
        """(height, width): how bright the pixels are that lie nearest."""


class Patch(msgspec.Struct, frozen=True, eq=False):
    """Pixels of a part of a picture from `left`, `top` on, in pixels of the picture, shrunk by `factor`."""

    pixels: Pixels
    left: int = 0
    top: int = 0
    factor: int = 1

    def onto(self, affine: Floats) -> Floats:
        """The map (2, 3) from these pixels onto where `affine` brings those of the picture."""
        moved = affine.copy()
        moved[:, 2] += affine[:, 0] * self.left + affine[:, 1] * self.top
        moved[:, :2] *= self.factor
        return moved

    def holds(self, left: int, top: int, right: int, bottom: int) -> bool:
        """Whether such a box of the picture lies in it, where nothing is shrunk."""
        height, width = self.pixels.shape[:2]
        return self.left <= left and self.top <= top and right <= self.left + width and bottom <= self.top + height


class Pyramid:
    """An image pyramid over the pixels of one picture; of use to one thread at a time.

    A level is the picture shrunk by a `factor` of 1, 2, 4, ...: each pixel the mean of a block, what is left over at
    the right and bottom cut off.
    """

    def __init__(self, raster: Raster) -> None:
        self.width = raster.width
        self.height = raster.height
        self._raster = raster
        self._levels: dict[int, Pixels] = {}
        self._parts: list[Patch] = []
        self._budget = self.width * self.height // 2  # pixels that may be converted in parts

    @staticmethod
    def of(pixels: Pixels) -> "Pyramid":
        """Over uint8 (height, width, 3) BGR."""
        return Pyramid(_Array(pixels))

    def level(self, factor: int = 1) -> Pixels:
        """The picture shrunk by `factor`."""
        if factor not in self._levels:
            if factor == 1:
                made = self._raster()
            elif factor == 2 and 1 not in self._levels:
                made = self._raster.half()
            else:
                made = halved(self.level(factor // 2))
            self._levels[factor] = made
        return self._levels[factor]

    def grey(self, width: int, height: int) -> Pixels:
        """How bright the picture is, (height, width), in the pixels that lie nearest."""
        return self._raster.grey(width, height)

    def factor(self, scale: float) -> int:
        """Of the smallest level that is not to be enlarged when the picture is shown at `scale`."""
        factor, most = 1, min(self.width, self.height)
        while 2 * factor * scale <= 1 and 2 * factor <= most:
            factor *= 2
        return factor

    def coarse(self, width: int, height: int) -> Pixels:
        """(height, width, 3): the pixels that lie nearest in the smallest level with so many columns that is there."""
        made = [factor for factor in self._levels if self.width >= factor * width]
        level = self.level(max(made, default=self.factor(width / self.width)))
        return cast(Pixels, cv2.resize(level, (width, height), interpolation=cv2.INTER_NEAREST))

    def patch(self, square: Floats, scale: float) -> Patch:
        """Pixels for showing the `square` (4, 2), in pixels of the picture, at `scale`."""
        factor = self.factor(scale)
        if factor > 1 or 1 in self._levels:
            return Patch(self.level(factor), factor=factor)
        low, high = np.floor(square.min(0)) - 1, np.ceil(square.max(0)) + 1
        needed = self._inside(low, high)
        for patch in self._parts:
            if patch.holds(*needed):
                return patch
        margin = _MARGIN * (high - low).max()
        left, top, right, bottom = self._inside(low - margin, high + margin)
        left, top = left // 2 * 2, top // 2 * 2
        right, bottom = min(right + right % 2, self.width), min(bottom + bottom % 2, self.height)
        self._budget -= (right - left) * (bottom - top)
        if self._budget < 0:
            return Patch(self.level())
        self._parts.append(Patch(self._raster.part(left, top, right, bottom), left, top))
        return self._parts[-1]

    def _inside(self, low: Floats, high: Floats) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of what of a box lies in the picture, at least a pixel."""
        left, top = int(min(max(low[0], 0), self.width - 2)), int(min(max(low[1], 0), self.height - 2))
        right, bottom = int(min(max(high[0], left + 2), self.width)), int(min(max(high[1], top + 2), self.height))
        return max(left, 0), max(top, 0), right, bottom


class _Array:
    """A raster whose pixels are there already."""

    def __init__(self, pixels: Pixels) -> None:
        self.height, self.width = pixels.shape[:2]
        self._pixels = pixels

    def __call__(self) -> Pixels:
        return self._pixels

    def half(self) -> Pixels:
        return halved(self._pixels)

    def part(self, left: int, top: int, right: int, bottom: int) -> Pixels:
        return self._pixels[top:bottom, left:right]

    def grey(self, width: int, height: int) -> Pixels:
        nearest = cv2.resize(self._pixels, (width, height), interpolation=cv2.INTER_NEAREST)
        return cast(Pixels, cv2.cvtColor(nearest, cv2.COLOR_BGR2GRAY))


def halved(pixels: Pixels) -> Pixels:
    """Each pixel the mean of four; an odd row or column is cut off."""
    height, width = max(pixels.shape[0] // 2, 1), max(pixels.shape[1] // 2, 1)
    return cast(Pixels, cv2.resize(pixels[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA))
