"""How this process takes memory from the system."""

import contextlib
import ctypes
import sys

_M_ARENA_MAX = -8  # malloc.h
_ARENAS = 2


def keep_compact() -> None:
    """Let all threads share two of the C library's heaps, where it would open up to eight for each core.

    Threads of sources and decoders come and go, and what they leave free in one heap is of no use in another: a process
    on flapping cameras held a hundred megabytes that nobody used, and went on growing. To be called before there are
    threads; without glibc nothing is done.
    """
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError, OSError):
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)
