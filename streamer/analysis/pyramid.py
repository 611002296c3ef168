"""A picture at its own size, at half of it, a quarter ..., each made when it is first asked for."""

import math
from collections import Counter
from typing import Literal, Protocol, cast, runtime_checkable

import cv2
import msgspec

from streamer.face import Floats, Pixels

_SIDE = 8  # pixels: parts whose sides are multiples of it are converted quickest
_MARGIN = 0.1  # of the side of a square: what is cut out next of the same face lies mostly within


@runtime_checkable
class Raster(Protocol):
    """The pixels of a picture of `width` x `height`, uint8 BGR, converted when asked, in the caller's thread."""

    width: int
    height: int

    def __call__(self, channels: Literal[3, 4] = 3) -> Pixels:
        """All of them, (height, width, channels); the fourth means nothing."""

    def shrunk(self, factor: int) -> Pixels:
        """(height // factor, width // factor, 3), each the mean of a block; `factor` is 2, 4, ..."""

    def grey(self, width: int, height: int) -> Pixels:
        """(height, width): how bright the pixels are that lie nearest."""

    def window(self, left: int, top: int, right: int, bottom: int) -> "Raster":
        """A part of the picture. All are even, but for the edges of the picture."""


class Patch(msgspec.Struct, frozen=True, eq=False):
    """Pixels of a part of a picture from `left`, `top` on, in pixels of the picture, shrunk by `factor`.

    They have a fourth value, which means nothing: OpenCV warps four in less than half the time that three take.
    """

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
        """Whether such a box of the picture lies in it."""
        below, beyond = self.top + self.pixels.shape[0] * self.factor, self.left + self.pixels.shape[1] * self.factor
        return self.left <= left and self.top <= top and right <= beyond and bottom <= below


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
        self._patches: dict[int, Patch] = {}  # levels as patches
        self._parts: list[Patch] = []
        self._converted = Counter[int]()  # pixels of each level that were converted in parts

    @staticmethod
    def of(pixels: Pixels) -> "Pyramid":
        """Over uint8 (height, width, 3) BGR."""
        return Pyramid(_Array(pixels))

    def window(self, left: int, top: int, right: int, bottom: int) -> "Pyramid":
        """Over a part of the picture. All are even, but for the edges of the picture."""
        return Pyramid(self._raster.window(left, top, right, bottom))

    def level(self, factor: int = 1) -> Pixels:
        """The picture shrunk by `factor`."""
        if factor not in self._levels:
            finer = max((made for made in self._levels if made < factor), default=0)
            if factor == 1:
                pixels = self._raster()
            elif finer:
                pixels = halved(self._levels[finer], factor // finer)
            else:
                pixels = self._raster.shrunk(factor)
            self._levels[factor] = pixels
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
        if factor >= min(self._levels, default=math.inf):
            return self._whole(factor)
        low, high = square.min(0) - factor, square.max(0) + factor
        needed = self._inside(low, high, factor)
        for patch in self._parts:
            if patch.factor == factor and patch.holds(*needed):
                return patch
        margin = _MARGIN * (high - low).max()
        left, top, right, bottom = self._inside(low - margin, high + margin, factor)
        self._converted[factor] += (right - left) * (bottom - top)
        if self._converted[factor] > self.width * self.height // 2:
            return self._whole(factor)
        part = self._raster.window(left, top, right, bottom)
        pixels = part(4) if factor == 1 else cv2.cvtColor(part.shrunk(factor), cv2.COLOR_BGR2BGRA)
        self._parts.append(Patch(cast(Pixels, pixels), left, top, factor))
        return self._parts[-1]

    def _whole(self, factor: int) -> Patch:
        if factor not in self._patches:
            fresh = factor == 1 and 1 not in self._levels
            pixels = self._raster(4) if fresh else cv2.cvtColor(self.level(factor), cv2.COLOR_BGR2BGRA)
            self._patches[factor] = Patch(cast(Pixels, pixels), factor=factor)
        return self._patches[factor]

    def _inside(self, low: Floats, high: Floats, factor: int) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of the blocks that a box touches, in what the level has of the picture; at least
        one.
        """
        side = max(factor, _SIDE)
        ends = [most if factor == 1 else most // factor * factor for most in (self.width, self.height)]
        left, top = (int(min(max(at, 0), max(end - side, 0))) // side * side for at, end in zip(low, ends, strict=True))
        right, bottom = (
            min(math.ceil(min(max(at, begin + side), end) / side) * side, end)
            for at, begin, end in zip(high, (left, top), ends, strict=True)
        )
        return left, top, right, bottom


class _Array:
    """A raster whose pixels are there already."""

    def __init__(self, pixels: Pixels) -> None:
        self.height, self.width = pixels.shape[:2]
        self._pixels = pixels

    def __call__(self, channels: Literal[3, 4] = 3) -> Pixels:
        return self._pixels if channels == 3 else cast(Pixels, cv2.cvtColor(self._pixels, cv2.COLOR_BGR2BGRA))

    def shrunk(self, factor: int) -> Pixels:
        return halved(self._pixels, factor)

    def grey(self, width: int, height: int) -> Pixels:
        nearest = cv2.resize(self._pixels, (width, height), interpolation=cv2.INTER_NEAREST)
        return cast(Pixels, cv2.cvtColor(nearest, cv2.COLOR_BGR2GRAY))

    def window(self, left: int, top: int, right: int, bottom: int) -> "_Array":
        return _Array(self._pixels[top:bottom, left:right])


def halved(pixels: Pixels, factor: int = 2) -> Pixels:
    """Each pixel the mean of four, and again until `factor` is reached; an odd row or column is cut off."""
    while factor > 1:
        height, width = max(pixels.shape[0] // 2, 1), max(pixels.shape[1] // 2, 1)
        cut = pixels[: 2 * height, : 2 * width]
        pixels = cast(Pixels, cv2.resize(cut, (width, height), interpolation=cv2.INTER_AREA))
        factor //= 2
    return pixels
