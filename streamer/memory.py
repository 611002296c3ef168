"""How this process holds memory: for months."""

import asyncio
import contextlib
import ctypes
import sys
from collections.abc import AsyncGenerator
from typing import Any

_M_ARENA_MAX = -8  # malloc.h
_HEAPS = 2


@contextlib.asynccontextmanager
async def kept_compact(every: float = 60.0) -> AsyncGenerator[None, None]:
    """All threads share two of the C library's heaps, instead of up to eight for each core, and `every` so many seconds
    what is free in them goes back to the system, for as long as the block lasts. Without glibc nothing is done.

    Threads of sources and decoders come and go, and what they leave free in one heap is of no use in another: a process
    on flapping cameras held a hundred megabytes that nobody used, and went on growing. To be entered before there are
    many threads.
    """
    library = _glibc()
    if library is None:
        yield
        return
    library.mallopt(_M_ARENA_MAX, _HEAPS)
    trimming = asyncio.create_task(_trim(library, every))
    try:
        yield
    finally:
        trimming.cancel()
        await asyncio.gather(trimming, return_exceptions=True)


async def _trim(library: Any, every: float) -> None:
    while True:
        await asyncio.sleep(every)
        await asyncio.to_thread(library.malloc_trim, 0)


def _glibc() -> Any:
    """The C library, None if it is another one."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
