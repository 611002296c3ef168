"""The picture of a result, as somebody wants to see it."""

from streamer.face import FrameResult, Look, Shot
from streamer.media.overlay import draw, pixelate
from streamer.media.pictures import encode_jpeg, shrunk


def render(result: FrameResult, look: Look) -> Shot:
    """The picture of a result that was not skipped; it takes a while."""
    frame = result.frame
    pixels = frame.pixels()
    if look.blur:
        pixels = pixelate(pixels, result.faces)
    pixels = shrunk(pixels, look.width)
    if look.overlay:
        pixels = draw(pixels, result.faces, pixels.shape[1] / frame.width)
    jpeg = encode_jpeg(pixels, look.width, look.quality)
    return Shot(jpeg, frame.seq, frame.captured, frame.arrived, frame.width, frame.height)
