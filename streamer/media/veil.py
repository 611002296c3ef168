"""What of a picture may be shown: nothing at all, or everything but who is in it."""

from functools import partial

import cv2
import msgspec
import numpy as np

from streamer.config import WHOLE_PICTURE, PrivacySettings, StreamSettings
from streamer.errors import PicturesOffError
from streamer.face import FrameResult, Pixels
from streamer.media.overlay import pixelate

_ACROSS = 24  # blocks in the width of what is not analysed: how large faces are there nobody knows


def no_pictures() -> Pixels:
    """In the place of the pixels of all frames where no picture may be shown. Raises PicturesOffError."""
    raise PicturesOffError("pictures are switched off", "the settings say so: [privacy] pictures or coordinates_only")


def veiled(result: FrameResult, stream: StreamSettings, privacy: PrivacySettings) -> FrameResult:
    """`result` with only such pixels as may be shown: whoever has it afterwards cannot get at others."""
    if result.frame.skipped or (privacy.pictures and not privacy.blur):
        return result
    pixels = partial(_blurred, result, stream) if privacy.pictures else no_pictures
    return msgspec.structs.replace(result, frame=msgspec.structs.replace(result.frame, pixels=pixels))


def _blurred(result: FrameResult, stream: StreamSettings) -> Pixels:
    """The picture with all faces, and all in which no faces are looked for, made unrecognisable."""
    pixels = result.frame.pixels()
    blurred = pixelate(pixels, result.faces, result.suspects)
    if stream.region == WHOLE_PICTURE and not stream.masks:
        return blurred
    height, width = pixels.shape[:2]
    analysed = np.zeros((height, width), np.uint8)
    for polygon, looked_at in ((stream.region, 1), *((mask, 0) for mask in stream.masks)):
        cv2.fillPoly(analysed, [np.rint(np.array(polygon) * (width, height)).astype(np.int32)], looked_at)
    side = max(width // _ACROSS, 1)
    few = cv2.resize(pixels, (_ACROSS, max(height // side, 1)), interpolation=cv2.INTER_AREA)
    coarse = cv2.resize(few, (width, height), interpolation=cv2.INTER_NEAREST)
    return np.where(analysed[:, :, None] == 1, blurred, coarse).astype(np.uint8)
