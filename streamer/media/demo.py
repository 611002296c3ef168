"""The demo source: a camera that moves over a portrait, for machines without a camera."""

import math
import time
from collections.abc import Callable
from functools import partial
from typing import cast

import cv2
import numpy as np

from streamer.errors import SourceError
from streamer.face import Floats, Frame, Pixels
from streamer.media.opening import Opening

WIDTH, HEIGHT, FPS = 1280, 720, 25.0


def read_demo(opening: Opening, put: Callable[[Frame, bool], bool]) -> None:
    """Hand frames at `FPS` to `put(frame, newest_wins)` until it says False. Raises SourceError."""
    portrait, first_seq = opening.host.portrait, opening.first_seq
    if portrait is None:
        raise SourceError("the demo needs its portrait", "run: streamer models pull portrait")
    picture = cast(Pixels | None, cv2.imread(str(portrait)))
    if picture is None:
        raise SourceError(f"{portrait}: the demo's portrait cannot be read", "run: streamer models verify")
    scene = paint_scene(picture)
    start, n = time.monotonic(), 0
    going = True
    while going:
        time.sleep(max(start + n / FPS - time.monotonic(), 0))  # the demo's frame clock
        pixels = partial(take_picture, scene, n / FPS)
        arrived = time.monotonic()
        frame = Frame(first_seq + n, n, arrived, time.time(), arrived, WIDTH, HEIGHT, pixels, pts=n / FPS)
        going = put(frame, True)
        n += 1


def paint_scene(portrait: Pixels) -> Pixels:
    """The portrait, sharp, before a blurred and darkened enlargement of itself; uint8 BGR."""
    width, height = WIDTH * 3 // 2, HEIGHT * 3 // 2
    wide = cv2.resize(portrait, (width, width), interpolation=cv2.INTER_CUBIC)[:height]
    small = cv2.resize(wide, (width // 8, height // 8), interpolation=cv2.INTER_AREA)
    scene = cv2.resize(cv2.GaussianBlur(small, (0, 0), 3), (width, height), interpolation=cv2.INTER_CUBIC) // 2
    side = int(height * 0.9)
    sharp = cv2.resize(portrait, (side, side), interpolation=cv2.INTER_CUBIC)
    top, left = (height - side) // 2, (width - side) // 2
    scene[top : top + side, left : left + side] = sharp
    return scene.astype(np.uint8)


def take_picture(scene: Pixels, t: float) -> Pixels:
    """What the camera sees `t` seconds after its start: it pans, zooms and rolls gently."""
    moved = cv2.warpAffine(scene, view(scene, t), (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)
    return cast(Pixels, moved)


def view(scene: Pixels, t: float) -> Floats:
    """The map (2, 3) from scene to picture at `t` seconds."""
    height, width = scene.shape[:2]
    x = width / 2 + 0.09 * width * math.sin(0.55 * t)
    y = height * 0.42 + 0.06 * height * math.sin(0.83 * t)
    turn = cv2.getRotationMatrix2D((x, y), 5 * math.sin(0.37 * t), 1.0 + 0.25 * math.sin(0.29 * t))
    turn[:, 2] += WIDTH / 2 - x, HEIGHT / 2 - y
    return turn.astype(np.float32)
