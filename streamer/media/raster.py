"""The pixels of decoded pictures, as BGR: all, fewer, or a part of them, and upright."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Literal, cast

import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from streamer.analysis.pyramid import Raster, halved
from streamer.face import Floats, Pixels

# Luma and chroma in planes of their own: how many columns and rows of pixels share a value of chroma.
_SHARED = {
    "yuv420p": (2, 2),
    "yuvj420p": (2, 2),
    "yuv420p10le": (2, 2),
    "nv12": (2, 2),
    "p010le": (2, 2),
    "yuv422p": (2, 1),
    "yuvj422p": (2, 1),
    "yuv444p": (1, 1),
    "yuvj444p": (1, 1),
}
_PAIRED = "nv12", "p010le"  # both values of chroma are side by side in one plane
_STEPS = {"yuv420p10le": 4, "p010le": 256}  # of values of two bytes: how many are one step of eight bits
_LUMA, _CHROMA = range(100, 156), range(92, 168, 4)  # of no colour that BGR cannot hold


def raster(picture: VideoFrame, turns: int) -> Callable[[], Pixels]:
    """What gives the pixels, turned counter-clockwise by quarter `turns`: a `Raster` where that can be quicker."""
    if picture.format.name not in _SHARED:
        return partial(_whole, picture, turns)
    if not turns:
        return _Planar(picture)
    if picture.width % 2 or picture.height % 2:  # the last value of chroma, of one column or row, would be the first
        return partial(_whole, picture, turns)
    return _Turned(_Planar(picture), turns)


def _whole(picture: VideoFrame, turns: int) -> Pixels:
    return _turn(_to_bgr(picture), turns)


def _turn(pixels: Pixels, turns: int) -> Pixels:
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


def _to_bgr(picture: VideoFrame, channels: Literal[3, 4] = 3) -> Pixels:
    """uint8 (height, width, channels); the fourth means nothing."""
    # A picture that is told to convert itself keeps megabytes and a thread for each core, for as long as it lives.
    reformatter = VideoReformatter()
    if channels == 4 and picture.width % 8 == 0:  # else FFmpeg 8 makes the last columns of "bgra" from something else
        return cast(Pixels, reformatter.reformat(picture, format="bgra", threads=1).to_ndarray())
    pixels = cast(Pixels, reformatter.reformat(picture, format="bgr24", threads=1).to_ndarray())
    return pixels if channels == 3 else cast(Pixels, cv2.cvtColor(pixels, cv2.COLOR_BGR2BGRA))


class _Planar:
    """A picture of one of the `_SHARED` layouts, or the part of it from `left`, `top` to `right`, `bottom`."""

    def __init__(self, picture: VideoFrame, box: tuple[int, int, int, int] | None = None) -> None:
        self._picture = picture
        self._box = left, top, right, bottom = box or (0, 0, picture.width, picture.height)
        self.width = right - left
        self.height = bottom - top

    def __call__(self, channels: Literal[3, 4] = 3) -> Pixels:
        if (self.width, self.height) == (self._picture.width, self._picture.height):
            return _to_bgr(self._picture, channels)
        part = VideoFrame(self.width, self.height, self._picture.format.name)
        part.colorspace, part.color_range = self._picture.colorspace, self._picture.color_range
        for onto, plane in zip(_planes(part), self._cut(), strict=True):
            onto[:] = plane
        return _to_bgr(part, channels)

    def shrunk(self, factor: int) -> Pixels:
        """Converted when it is small: of the chroma there are no more pixels than at half the size anyway."""
        columns, rows = _SHARED[self._picture.format.name]
        luma, *chroma = self._cut()
        # Of chroma with more rows than columns some are left out: means of them would take longer than all the rest.
        planes = [halved(luma, factor), *(halved(plane[:: columns // rows], factor // columns) for plane in chroma)]
        height, width = planes[0].shape
        colours = self._in_bytes(cv2.merge([plane[:height, :width] for plane in planes]))
        matrix = _matrix(self._picture.format.name, self._picture.colorspace, self._picture.color_range)
        return cast(Pixels, cv2.transform(colours, matrix, dst=colours))

    def grey(self, width: int, height: int) -> Pixels:
        return self._in_bytes(cv2.resize(self._cut()[0], (width, height), interpolation=cv2.INTER_NEAREST))

    def window(self, left: int, top: int, right: int, bottom: int) -> "_Planar":
        x, y, _, _ = self._box
        return _Planar(self._picture, (x + left, y + top, x + right, y + bottom))

    def _in_bytes(self, values: cv2.typing.MatLike) -> Pixels:
        step = _STEPS.get(self._picture.format.name)
        return cast(Pixels, cv2.convertScaleAbs(values, alpha=1 / step) if step else values)

    def _cut(self) -> list[Pixels]:
        """The planes' pixels; left and top are even."""
        left, top, right, bottom = self._box
        luma, *chroma = _planes(self._picture)
        columns, rows = _SHARED[self._picture.format.name]
        part = slice(top // rows, -(-bottom // rows)), slice(left // columns, -(-right // columns))
        return [luma[top:bottom, left:right], *(plane[part] for plane in chroma)]


class _Turned:
    """What a raster shows, turned counter-clockwise by quarter `turns`. It has an even number of columns and rows."""

    def __init__(self, upright: Raster, turns: int) -> None:
        self._upright = upright
        self._turns = turns
        self.width, self.height = self._size(upright.width, upright.height)

    def __call__(self, channels: Literal[3, 4] = 3) -> Pixels:
        return _turn(self._upright(channels), self._turns)

    def shrunk(self, factor: int) -> Pixels:
        # What does not fill a block is cut off here at the right and bottom, not there.
        whole = self._there(0, 0, self.width // factor * factor, self.height // factor * factor)
        return _turn(whole.shrunk(factor), self._turns)

    def grey(self, width: int, height: int) -> Pixels:
        return _turn(self._upright.grey(*self._size(width, height)), self._turns)

    def window(self, left: int, top: int, right: int, bottom: int) -> "_Turned":
        return _Turned(self._there(left, top, right, bottom), self._turns)

    def _size(self, width: int, height: int) -> tuple[int, int]:
        """Of what has this size here, there, and the other way round."""
        return (height, width) if self._turns % 2 else (width, height)

    def _there(self, left: int, top: int, right: int, bottom: int) -> Raster:
        """A part that is here, as it is before it is turned."""
        width, height = self.width, self.height
        for _ in range(self._turns):
            left, top, right, bottom = height - bottom, left, height - top, right
            width, height = height, width
        return self._upright.window(left, top, right, bottom)


def _planes(picture: VideoFrame) -> list[Pixels]:
    """Luma (rows, columns) and chroma, in one plane (rows, columns, 2) or two, in the picture's own memory; of one or
    two bytes each.
    """
    layout, planes = picture.format.name, list[Pixels]()
    kind = np.dtype(np.uint16 if layout in _STEPS else np.uint8)
    for n, plane in enumerate(picture.planes):
        rows = np.frombuffer(memoryview(plane), kind).reshape(-1, plane.line_size // kind.itemsize)[: plane.height]
        paired = layout in _PAIRED and n == 1
        planes.append(rows[:, : 2 * plane.width].reshape(-1, plane.width, 2) if paired else rows[:, : plane.width])
    return planes


@lru_cache(maxsize=16)
def _matrix(layout: str, colorspace: int, color_range: int) -> Floats:
    """(3, 4), makes BGR of luma, chroma and 1; measured on FFmpeg's own conversion, so that both give the same."""
    grid = np.array(np.meshgrid(_LUMA, _CHROMA, _CHROMA)).reshape(3, -1).astype(np.uint8)
    picture = VideoFrame(2 * grid.shape[1], 2, layout)
    picture.colorspace, picture.color_range = colorspace, color_range
    planes = [channel for plane in _planes(picture) for channel in np.atleast_3d(plane).transpose(2, 0, 1)]
    for plane, values in zip(planes, grid.astype(planes[0].dtype) * _STEPS.get(layout, 1), strict=True):
        plane[:] = np.repeat(values, plane.shape[1] // len(values))
    made = _to_bgr(picture)[0, ::2].astype(np.float64)
    known = np.concatenate([grid.T, np.ones((grid.shape[1], 1))], 1)
    return cast(Floats, np.linalg.lstsq(known, made, rcond=None)[0].T.astype(np.float32))
