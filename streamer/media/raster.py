"""The pixels of decoded pictures, as BGR: all, half as many, or a part of them."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import cast

import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from streamer.analysis.pyramid import halved
from streamer.face import Floats, Pixels

_PLANAR = ("yuv420p", "yuvj420p")  # luma, and two planes of chroma with half as many rows and columns
_LUMA, _CHROMA = range(100, 156), range(92, 168, 4)  # of no colour that BGR cannot hold


def raster(picture: VideoFrame, turns: int) -> Callable[[], Pixels]:
    """What gives the pixels, turned counter-clockwise by quarter `turns`: a `Raster` where that can be quicker."""
    if picture.format.name in _PLANAR and not turns:
        return _Planar(picture)
    return partial(_turned, picture, turns)


def _turned(picture: VideoFrame, turns: int) -> Pixels:
    pixels = _to_bgr(picture)
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


def _to_bgr(picture: VideoFrame) -> Pixels:
    """uint8 (height, width, 3)."""
    # A picture that is told to convert itself keeps megabytes and a thread for each core, for as long as it lives.
    converted = VideoReformatter().reformat(picture, format="bgr24", threads=1)
    return cast(Pixels, converted.to_ndarray())


class _Planar:
    def __init__(self, picture: VideoFrame) -> None:
        self.width = picture.width
        self.height = picture.height
        self._picture = picture

    def __call__(self) -> Pixels:
        return _to_bgr(self._picture)

    def part(self, left: int, top: int, right: int, bottom: int) -> Pixels:
        part = VideoFrame(right - left, bottom - top, self._picture.format.name)
        part.colorspace, part.color_range = self._picture.colorspace, self._picture.color_range
        for onto, plane in zip(_planes(part), self._cut(left, top, right, bottom), strict=True):
            onto[:] = plane
        return _to_bgr(part)

    def shrunk(self, factor: int, left: int, top: int, right: int, bottom: int) -> Pixels:
        """Converted when it is small: of the chroma there are no more pixels than at half the size anyway."""
        luma, *chroma = self._cut(left, top, right, bottom)
        small = halved(luma, factor)
        height, width = small.shape
        planes = [small, *(halved(plane, factor // 2)[:height, :width] for plane in chroma)]
        colours = cv2.merge(planes)
        return cast(Pixels, cv2.transform(colours, _matrix(*_colours(self._picture)), dst=colours))

    def _cut(self, left: int, top: int, right: int, bottom: int) -> list[Pixels]:
        """The planes' pixels of a part of the picture; left and top are even."""
        luma, *chroma = _planes(self._picture)
        rows, columns = slice(top // 2, (bottom + 1) // 2), slice(left // 2, (right + 1) // 2)
        return [luma[top:bottom, left:right], *(plane[rows, columns] for plane in chroma)]

    def grey(self, width: int, height: int) -> Pixels:
        luma = _planes(self._picture)[0]
        return cast(Pixels, cv2.resize(luma, (width, height), interpolation=cv2.INTER_NEAREST))


def _planes(picture: VideoFrame) -> list[Pixels]:
    """The planes (rows, columns), in the picture's own memory."""
    return [
        np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
        for plane in picture.planes
    ]


def _colours(picture: VideoFrame) -> tuple[str, int, int]:
    return picture.format.name, picture.colorspace, picture.color_range


@lru_cache(maxsize=16)
def _matrix(layout: str, colorspace: int, color_range: int) -> Floats:
    """(3, 4), makes BGR of luma, chroma and 1; measured on FFmpeg's own conversion, so that both give the same."""
    grid = np.array(np.meshgrid(_LUMA, _CHROMA, _CHROMA)).reshape(3, -1).astype(np.uint8)
    picture = VideoFrame(2 * grid.shape[1], 2, layout)
    picture.colorspace, picture.color_range = colorspace, color_range
    for plane, values in zip(_planes(picture), grid, strict=True):
        plane[:] = np.repeat(values, plane.shape[1] // len(values))
    made = _to_bgr(picture)[0, ::2].astype(np.float64)
    known = np.concatenate([grid.T, np.ones((grid.shape[1], 1))], 1)
    return cast(Floats, np.linalg.lstsq(known, made, rcond=None)[0].T.astype(np.float32))
