"""What the drivers have in common: raw RGB pictures on stdin, one after the other, and a line of JSON for each.

python DRIVER.py WIDTH HEIGHT
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np


def serve(look: Callable[[Any], int]) -> None:
    """Calls `look` with each picture, uint8 (height, width, 3) RGB; it gives the number of faces."""
    width, height = int(sys.argv[1]), int(sys.argv[2])
    # Libraries print what they like: that must not get between the lines.
    answers, sys.stdout = sys.stdout, sys.stderr
    print(json.dumps({"ready": True}), file=answers, flush=True)
    while len(data := sys.stdin.buffer.read(width * height * 3)) == width * height * 3:
        picture = np.frombuffer(data, np.uint8).reshape(height, width, 3)
        start = time.perf_counter()
        faces = look(picture)
        print(json.dumps({"ms": 1000 * (time.perf_counter() - start), "faces": faces}), file=answers, flush=True)
