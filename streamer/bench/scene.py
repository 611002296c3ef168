"""The demo's scene as a clip, for machines without one."""

from fractions import Fraction
from pathlib import Path

import av

from streamer.face import Pixels
from streamer.media.demo import FPS, HEIGHT, WIDTH, paint_scene, take_picture

CLIP_FRAMES = 75


def film(portrait: Pixels, path: Path, scale: float = 1.0) -> Path:
    """Three seconds of the demo's moving camera as H.264 without B-frames: 75 frames, one face in each.

    The camera goes forth and back, so that the clip can be played round and round without a jump.
    """
    scene = paint_scene(portrait)
    with av.open(str(path), "w") as writer:
        stream = writer.add_stream("libx264", rate=Fraction(round(FPS)), options={"bf": "0", "preset": "ultrafast"})
        stream.width, stream.height = round(WIDTH * scale), round(HEIGHT * scale)
        stream.pix_fmt, stream.gop_size = "yuv420p", round(FPS)
        for n in range(CLIP_FRAMES):
            seen = take_picture(scene, min(n, CLIP_FRAMES - n) / FPS)
            picture = av.VideoFrame.from_ndarray(seen, format="bgr24")
            writer.mux(stream.encode(picture.reformat(stream.width, stream.height)))
        writer.mux(stream.encode())
    return path
