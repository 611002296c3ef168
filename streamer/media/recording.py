"""Writing one video file: pictures in, H.264 in MP4, QuickTime or Matroska out.

While it is written the file consists of fragments of a second, so that whatever becomes of the program all but the last
second of it can be played; once it is closed it is an ordinary one with an index.
"""

from fractions import Fraction
from pathlib import Path
from typing import Final, cast

import av
import cv2
import numpy as np
from av.video.frame import PictureType, VideoFrame

from streamer.errors import OutputError
from streamer.face import Pixels
from streamer.records import rfc3339

_ENCODER: Final = "libx264"
# One thread, and nothing held back: cheap enough to run beside the analysis, and a picture is in the file at once.
_ENCODING = {"preset": "ultrafast", "crf": "25", "bf": "0", "forced-idr": "1"}
_FRAGMENTS = {"movflags": "hybrid_fragmented", "frag_duration": "1000000", "flush_packets": "1"}
_CLUSTERS = {"cluster_time_limit": "1000", "flush_packets": "1"}
_TICKS = 90_000  # a second
_KEY_EVERY = 2.0  # seconds from one key picture to the next: what seeking, and a damaged file, go back to
_USUAL_STEP = 1 / 25  # seconds that the last picture is shown, where nothing tells
_BT601, _LIMITED = 6, 1  # of H.264: the colour matrix of SMPTE 170M; 16 is black and 235 white
_BT709 = 1

Failure = (av.error.FFmpegError, OSError)
"""What writing may raise."""


def check_encoder() -> None:
    """Raises OutputError if this FFmpeg cannot encode."""
    try:
        av.codec.Codec(_ENCODER, "w")
    except av.codec.codec.UnknownCodecError:
        raise OutputError(
            f"videos cannot be written: the FFmpeg of this PyAV has no {_ENCODER}",
            "install PyAV's own wheel (pip install --force-reinstall --only-binary av av), or build FFmpeg with it",
        ) from None


class Recording:
    """One file, all of whose pictures are of one size. Odd sizes get one more column or row, a copy of the last, for
    H.264 has none. All methods raise what is in `Failure`.
    """

    def __init__(self, path: Path, width: int, height: int, captured: float) -> None:
        """`captured` is when time 0 of the video was, in seconds since 1970 UTC."""
        self.path = path
        self.size = (width, height)
        self.pictures = 0
        self.seconds = 0.0
        self._ticks = -1
        self._key_due = 0.0
        options = _CLUSTERS if path.suffix.lower() == ".mkv" else _FRAGMENTS
        self._container = av.open(str(path), "w", options=options)
        self._container.metadata["creation_time"] = rfc3339(captured)
        self._stream = self._container.add_stream(_ENCODER, rate=round(1 / _USUAL_STEP), options=_ENCODING)
        self._stream.width, self._stream.height = width + width % 2, height + height % 2
        self._stream.pix_fmt = "yuv420p"
        self._stream.time_base = Fraction(1, _TICKS)
        context = self._stream.codec_context
        context.time_base = Fraction(1, _TICKS)
        context.thread_count = 1
        context.gop_size = 10_000  # key pictures come by the time
        context.colorspace, context.color_range = _BT601, _LIMITED
        context.color_primaries = context.color_trc = _BT709

    def write(self, pixels: Pixels, at: float) -> None:
        """Add a picture, uint8 (height, width, 3) BGR, that is shown from `at` on, in seconds."""
        picture = VideoFrame.from_ndarray(_to_yuv(pixels), format="yuv420p")
        ticks = max(round(at * _TICKS), self._ticks + 1)
        step = ticks - self._ticks if self.pictures else round(_USUAL_STEP * _TICKS)
        picture.pts, picture.time_base, self._ticks = ticks, Fraction(1, _TICKS), ticks
        if at >= self._key_due:
            picture.pict_type, self._key_due = PictureType.I, at + _KEY_EVERY
        for packet in self._stream.encode(picture):
            packet.duration = step  # of the last picture; else the next one's time counts
            self._container.mux(packet)
        self.pictures += 1
        self.seconds = (ticks + step) / _TICKS

    def close(self) -> None:
        """Complete the file."""
        try:
            if self.pictures:
                self._container.mux(self._stream.encode())
        finally:
            self._container.close()


def _to_yuv(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    if width % 2 or height % 2:
        pixels = cast(Pixels, cv2.copyMakeBorder(pixels, 0, height % 2, 0, width % 2, borderType=cv2.BORDER_REPLICATE))
    # Five times as quick as FFmpeg's conversion.
    return cast(Pixels, cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_BGR2YUV_I420))
