"""What of a stream's pictures may be shown: nothing at all, or everything but who is in them."""

from collections import deque
from collections.abc import Callable
from functools import partial

import cv2
import msgspec
import numpy as np

from streamer.analysis.hiding import Sighting, sighting, to_hide
from streamer.config import WHOLE_PICTURE, PrivacySettings, StreamSettings
from streamer.errors import PicturesOffError
from streamer.face import Floats, FrameResult, Pixels
from streamer.media.overlay import pixelate_boxes

_ACROSS = 24  # blocks in the width of what is not analysed: how large faces are there nobody knows
_BEFORE = 1.0  # seconds for which a face is hidden where it was seen last


def no_pictures() -> Pixels:
    """In the place of the pixels of all frames where no picture may be shown. Raises PicturesOffError."""
    raise PicturesOffError("pictures are switched off", "the settings say so: [privacy] pictures or coordinates_only")


class Veil:
    """Lies over the results of one stream, in order: whoever has them afterwards cannot get at what is below."""

    def __init__(self, stream: StreamSettings, privacy: PrivacySettings) -> None:
        self._stream = stream
        self._privacy = privacy
        self._seen: deque[Sighting] = deque()

    def over(self, result: FrameResult) -> FrameResult:
        """`result` with only such pixels as may be shown."""
        privacy = self._privacy
        if result.frame.skipped or (privacy.pictures and not privacy.blur):
            return result
        pixels = no_pictures
        if privacy.pictures:
            pixels = partial(_blurred, result.frame.pixels, self._hidden(result), self._stream)
        return msgspec.structs.replace(result, frame=msgspec.structs.replace(result.frame, pixels=pixels))

    def _hidden(self, result: FrameResult) -> Floats:
        now = sighting(result, result.frame.at)
        while self._seen and not 0 <= now.at - self._seen[0].at <= _BEFORE:
            self._seen.popleft()
        boxes = to_hide(now, self._seen)
        self._seen.append(now)
        return boxes


def _blurred(picture: Callable[[], Pixels], faces: Floats, stream: StreamSettings) -> Pixels:
    """The picture with all faces, and all in which no faces are looked for, made unrecognisable."""
    pixels = picture()
    blurred = pixelate_boxes(pixels, faces)
    if stream.region == WHOLE_PICTURE and not stream.masks:
        return blurred
    height, width = pixels.shape[:2]
    analysed = np.zeros((height, width), np.uint8)
    for polygon, counts in ((stream.region, 1), *((mask, 0) for mask in stream.masks)):
        cv2.fillPoly(analysed, [np.rint(np.array(polygon) * (width, height)).astype(np.int32)], counts)
    side = max(width // _ACROSS, 1)
    few = cv2.resize(pixels, (_ACROSS, max(height // side, 1)), interpolation=cv2.INTER_AREA)
    coarse = cv2.resize(few, (width, height), interpolation=cv2.INTER_NEAREST)
    return np.where(analysed[:, :, None] == 1, blurred, coarse).astype(np.uint8)
