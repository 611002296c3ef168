"""The pictures that test cameras show: recorded clips of faces (may be absent), and drawn ones.

A drawn clip carries its frame number in the picture, so that a test can tell a stale, lost or repeated frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Literal

import av
import numpy as np
import numpy.typing as npt
import pytest

FOLDER = Path(__file__).resolve().parents[2].parent / "shared" / "eval" / "open"
"""Where the recorded clips lie; the only place that knows."""

BITS = 12
"""Bits of the frame number drawn into each picture, one square each, the highest first."""

Image = npt.NDArray[np.uint8]
Encoder = Literal["libx264", "libx265"]


def clip(name: str) -> Path:
    """The recorded clip of that name (`videos/man_1080p_talk.mp4`); skips the calling test where absent."""
    path = FOLDER / name
    if not path.is_file():
        pytest.skip(f"recorded clip {name} is not on this machine")
    return path


def draw_number(number: int, width: int, height: int) -> Image:
    """An RGB picture that shows `number` modulo 2**BITS as white and black squares above a grey ramp."""
    side = width // BITS
    ramp = np.linspace(40, 200, width, dtype=np.uint8)
    image = np.repeat(np.roll(ramp, 8 * number)[None, :, None], height, axis=0).repeat(3, axis=2)
    for bit in range(BITS):
        image[:side, bit * side : (bit + 1) * side] = 255 if number >> (BITS - 1 - bit) & 1 else 0
    return image


def read_number(image: Image) -> int:
    """The number that `draw_number` put into the picture (read at the middle of each square)."""
    side = image.shape[1] // BITS
    middles = image[side // 2, side // 2 : BITS * side : side]
    return int("".join("1" if level > 128 else "0" for level in middles.mean(axis=1)), 2)


def draw(
    path: Path,
    *,
    codec: Encoder = "libx264",
    width: int = 320,
    height: int = 240,
    fps: int = 25,
    frames: int = 50,
    gop: int = 25,
    first: int = 0,
) -> Path:
    """Writes a clip numbered from `first`, without B-frames (as cameras send), a key frame every `gop` frames."""
    images = (draw_number(number, width, height) for number in range(first, first + frames))
    return _encode(path, images, codec=codec, rate=Fraction(fps), gop=gop)


def convert(source: Path, target: Path, *, codec: Encoder, frames: int = 60, gop: int = 25) -> Path:
    """Encodes the first frames of a recorded clip anew, to have it in another codec (`libx265`)."""
    with av.open(str(source)) as reader:
        stream = reader.streams.video[0]
        pictures = islice(reader.decode(stream), frames)
        images = (picture.to_ndarray(format="rgb24").astype(np.uint8) for picture in pictures)
        return _encode(target, images, codec=codec, rate=stream.average_rate or Fraction(25), gop=gop)


def remux(source: Path, target: Path, *, options: dict[str, str] | None = None) -> Path:
    """Copies the video of a clip into another file without encoding it anew; `options` are the muxer's."""
    with av.open(str(source)) as reader, av.open(str(target), "w", options=options or {}) as writer:
        video = reader.streams.video[0]
        copy = writer.add_stream_from_template(video)
        for packet in reader.demux(video):
            if packet.dts is not None:
                packet.stream = copy
                writer.mux(packet)
    return target


def _encode(path: Path, images: Iterator[Image], *, codec: Encoder, rate: Fraction, gop: int) -> Path:
    quiet = {"x265-params": f"bframes=0:log-level=none:keyint={gop}:min-keyint={gop}"}
    plain = {"bf": "0", "preset": "ultrafast", "sc_threshold": "0"}
    with av.open(str(path), "w") as writer:
        stream = writer.add_stream(codec, rate=rate, options=quiet if codec == "libx265" else plain)
        stream.pix_fmt = "yuv420p"
        stream.gop_size = gop
        for number, image in enumerate(images):
            if number == 0:
                stream.height, stream.width = image.shape[:2]
            writer.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        writer.mux(stream.encode())
    return path
