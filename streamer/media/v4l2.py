"""What a Linux capture device says of itself: a few questions of the kernel's V4L2 interface.

Layouts and numbers are those of the kernel's videodev2.h on x86 and ARM; elsewhere the kernel refuses the questions.
"""

import fcntl
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from streamer.media.devices import Mode, Node

Ioctl = Callable[[int, int, bytearray], object]

_QUERYCAP, _ENUM_FMT, _ENUM_FRAMESIZES, _ENUM_FRAMEINTERVALS = 0x80685600, 0xC0405602, 0xC02C564A, 0xC034564B
_SIZES = {_QUERYCAP: 104, _ENUM_FMT: 64, _ENUM_FRAMESIZES: 44, _ENUM_FRAMEINTERVALS: 52}
_CAPTURE, _CAPTURE_PLANES, _DEVICE_CAPS = 0x1, 0x1000, 0x8000_0000
_DISCRETE = 1
_MOST = 64  # answers to one question: a driver that never comes to an end must not hold us


def query(path: Path, ioctl: Ioctl = fcntl.ioctl) -> Node:
    """Ask the device at `path`. Raises OSError if it cannot be opened or is no V4L2 device."""
    device = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    try:
        answer = _asked(device, _QUERYCAP, ioctl)
        name = answer[16:48].split(b"\0")[0].decode(errors="replace")
        everything, own = struct.unpack_from("=2I", answer, 84)
        captures = bool((own if everything & _DEVICE_CAPS else everything) & (_CAPTURE | _CAPTURE_PLANES))
        return Node(name, captures, tuple(_modes(device, ioctl)) if captures else ())
    finally:
        os.close(device)


def _modes(device: int, ioctl: Ioctl) -> Iterator[Mode]:
    """The largest size first within each format."""
    for description in _each(device, _ENUM_FMT, struct.pack("=I", _CAPTURE), ioctl):
        code = description[44:48]
        sizes = set()
        for answer in _each(device, _ENUM_FRAMESIZES, code, ioctl):
            (kind,) = struct.unpack_from("=I", answer, 8)
            # A range is told as its smallest and largest width and their step, then the same of the height.
            sizes.add(struct.unpack_from("=2I" if kind == _DISCRETE else "=4x I 8x I", answer, 12))
        for width, height in sorted(sizes, reverse=True):
            yield Mode(code.decode("latin-1").strip(), width, height, _fps(device, code, width, height, ioctl))


def _fps(device: int, code: bytes, width: int, height: int, ioctl: Ioctl) -> float:
    question = code + struct.pack("=2I", width, height)
    rates = [0.0]
    for answer in _each(device, _ENUM_FRAMEINTERVALS, question, ioctl):
        seconds, parts = struct.unpack_from("=2I", answer, 20)  # of a range: its shortest interval
        rates.append(parts / seconds if seconds else 0.0)
    return round(max(rates), 2)


def _each(device: int, request: int, question: bytes, ioctl: Ioctl) -> Iterator[bytes]:
    """The answers to a numbered question, until there is no further one."""
    for index in range(_MOST):
        try:
            yield _asked(device, request, ioctl, struct.pack("=I", index) + question)
        except OSError:
            return


def _asked(device: int, request: int, ioctl: Ioctl, question: bytes = b"") -> bytes:
    buffer = bytearray(question.ljust(_SIZES[request], b"\0"))
    ioctl(device, request, buffer)
    return bytes(buffer)
