"""Faces drawn onto a picture, or made unrecognisable in it."""

import colorsys
import math
from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from streamer.face import EMOTIONS, Face, Floats, Pixels

_MARGIN = 0.25  # of a face's box on each side: hair and chin are outside of it, and it may have moved
_BLOCKS = 7  # across a face with its margin, at most: what is left tells where it is, not who
_SMALLEST = 8  # pixels in a block's side
_TEXT, _SMALLEST_TEXT = 0.5, 0.4  # size of labels in a picture 720 pixels high, and in any, as OpenCV counts it
_GOLDEN = 0.618  # of the colour circle from one track to the next: neighbours differ


def pixelate(pixels: Pixels, faces: Sequence[Face]) -> Pixels:
    """A copy of `pixels` in which each face is but a few blocks of its mean colours. Nothing gives back the rest."""
    return pixelate_boxes(pixels, [face.box for face in faces])


def pixelate_boxes(pixels: Pixels, boxes: Iterable[Floats]) -> Pixels:
    """The same with the faces given by their boxes (4,)."""
    result = pixels.copy()
    height, width = pixels.shape[:2]
    for box in boxes:
        x1, y1, x2, y2 = around(box, width, height)
        if x2 <= x1 or y2 <= y1:
            continue
        # Blocks stay where they are while the box trembles: else many pictures of a face would tell more than one.
        side = max(_rounded_up(min(x2 - x1, y2 - y1) / _BLOCKS), _SMALLEST)
        x1, y1, x2, y2 = x1 // side * side, y1 // side * side, -(-x2 // side) * side, -(-y2 // side) * side
        x2, y2 = min(x2, width), min(y2, height)
        part = pixels[y1:y2, x1:x2]
        few = cv2.resize(part, (max((x2 - x1) // side, 1), max((y2 - y1) // side, 1)), interpolation=cv2.INTER_AREA)
        result[y1:y2, x1:x2] = cv2.resize(few, (x2 - x1, y2 - y1), interpolation=cv2.INTER_NEAREST)
    return result


def draw(pixels: Pixels, faces: Sequence[Face], scale: float = 1.0) -> Pixels:
    """A copy of `pixels` with box, landmarks and label of each face; `scale` is its size over that of the picture in
    which the faces were found.
    """
    result = np.ascontiguousarray(pixels).copy()
    unit = max(result.shape[0] / 720, 0.5)
    for face in reversed(faces):  # the largest last, on top
        colour = _colour(face.track_id or 0)
        x1, y1, x2, y2 = (round(float(v) * scale) for v in face.box)
        cv2.rectangle(result, (x1, y1), (x2, y2), colour, max(round(2 * unit), 1), cv2.LINE_AA)
        for x, y in face.landmarks * scale:
            cv2.circle(result, (round(float(x)), round(float(y))), max(round(2 * unit), 1), colour, -1, cv2.LINE_AA)
        if text := label(face):
            _label(result, text, (x1, y2), colour, unit)
    return result


def label(face: Face) -> str:
    """A face in a few words, as far as it was judged."""
    words = [] if face.track_id is None else [f"#{face.track_id}"]
    if not face.guessed("gender"):
        words.append("woman" if face.female >= 0.5 else "man")
    if not face.guessed("age"):
        words.append(str(max(round(face.age), 0)))
    if not face.guessed("emotion"):
        words.append(EMOTIONS[int(np.argmax(face.emotions))])
    return " ".join(words)


def around(box: Floats, width: int, height: int) -> tuple[int, int, int, int]:
    """The box with a margin, cut to the picture, in whole pixels."""
    x1, y1, x2, y2 = (float(v) for v in box)
    dx, dy = _MARGIN * (x2 - x1), _MARGIN * (y2 - y1)
    left, top = max(int(x1 - dx), 0), max(int(y1 - dy), 0)
    return left, top, min(int(x2 + dx) + 1, width), min(int(y2 + dy) + 1, height)


def _rounded_up(side: float) -> int:
    """To 8, 12, 16, 24, 32 ... pixels: few sizes, so that a face that comes nearer has the same one for a while."""
    power = 1 << math.ceil(math.log2(max(side, 1.0)))
    return power * 3 // 4 if power * 3 / 4 >= side else power


def _label(pixels: Pixels, text: str, below: tuple[int, int], colour: tuple[int, int, int], unit: float) -> None:
    size, thick = max(_TEXT * unit, _SMALLEST_TEXT), max(round(unit), 1)
    (wide, high), base = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, thick)
    x = max(min(below[0], pixels.shape[1] - wide), 0)
    y = min(below[1], pixels.shape[0] - high - 2 * base)
    cv2.rectangle(pixels, (x, y), (x + wide, y + high + 2 * base), colour, -1)
    place = (x, y + high + base)
    cv2.putText(pixels, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, (0, 0, 0), thick, cv2.LINE_AA)


def _colour(track: int) -> tuple[int, int, int]:
    """BGR, bright enough for black text."""
    red, green, blue = colorsys.hls_to_rgb(track * _GOLDEN % 1, 0.65, 0.9)
    return round(blue * 255), round(green * 255), round(red * 255)
