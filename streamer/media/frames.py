"""Frames out of decoded pictures: numbered, upright, their pixels converted only when somebody asks."""

import time
from collections.abc import Callable

from av.video.frame import VideoFrame

from streamer.face import Frame, Pixels, no_pixels
from streamer.media.clock import Reading
from streamer.media.raster import raster


class FrameMaker:
    """Numbers the frames of one opening in order; `rotate` is how far each is turned clockwise, in degrees."""

    def __init__(self, first_seq: int, rotate: int, *, live: bool) -> None:
        self._seq = first_seq
        self._rotate = rotate
        self._live = live
        self._size = (0, 0)
        self.index = 0

    @property
    def begun(self) -> bool:
        """Whether a picture was decoded yet."""
        return self._size != (0, 0)

    def seen(self, picture: VideoFrame, at: float, reading: Reading, skipped: str | None = None) -> Frame:
        """Of a decoded picture, on the axis `at`; `skipped` is the reason why it must not be analysed."""
        turns = round((picture.rotation - self._rotate) / 90) % 4
        self._size = _size(picture, turns)
        return self._frame(at, reading, skipped, no_pixels if skipped else raster(picture, turns))

    def passed_over(self, at: float, reading: Reading, reason: str) -> Frame:
        """Of a picture that was never decoded; it is as large as the one before."""
        return self._frame(at, reading, reason, no_pixels)

    def _frame(self, at: float, reading: Reading, skipped: str | None, pixels: Callable[[], Pixels]) -> Frame:
        frame = Frame(
            seq=self._seq,
            index=self.index,
            at=at,
            captured=reading.captured,
            arrived=at if self._live else time.monotonic(),
            width=self._size[0],
            height=self._size[1],
            pixels=pixels,
            pts=reading.pts,
            clock=reading.clock,
            live=self._live,
            delay=reading.delay,
            jump=reading.jump,
            skipped=skipped,
        )
        self._seq += 1
        self.index += 1
        return frame


def displayed(picture: VideoFrame) -> tuple[int, int]:
    """Width and height as shown, with the rotation that the file or camera asks for."""
    return _size(picture, round(picture.rotation / 90))


def _size(picture: VideoFrame, turns: int) -> tuple[int, int]:
    return (picture.height, picture.width) if turns % 2 else (picture.width, picture.height)
