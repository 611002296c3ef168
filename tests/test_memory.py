"""Memory and threads of the process: what comes and goes leaves nothing behind."""

import subprocess
import sys
from pathlib import Path

import pytest

from streamer.config import StreamSettings
from streamer.face import Frame
from tests.conftest import opened
from tests.servers.clips import draw

COMMON = """
import asyncio, contextlib, ctypes, threading, time
from pathlib import Path
from streamer.memory import kept_compact
library = ctypes.CDLL(None)
library.malloc.restype = library.fopen.restype = ctypes.c_void_p
"""

HEAPS = """
async def main(kept):
    async with kept:
        gate = threading.Barrier(8)
        def take():
            gate.wait()
            library.malloc(1000)
            gate.wait()
        threads = [threading.Thread(target=take) for _ in range(8)]
        for one in threads: one.start()
        for one in threads: one.join()
        out = ctypes.c_void_p(library.fopen(b"/dev/stdout", b"w"))
        library.malloc_info(0, out)
        library.fclose(out)
"""

FREE = """
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) >> 8
async def main(kept):
    async with kept:
        held = [bytes(100_000) for _ in range(2000)]
        most = resident()
        held = held[::50]  # too many for the heap to become shorter, too few to need it
        end = time.monotonic() + 1
        while resident() > most - 100 and time.monotonic() < end:
            await asyncio.sleep(0.02)
        print(most - resident())
"""


def said(what: str, kept: str) -> str:
    """What a process says that does `what` within `kept`."""
    command = [sys.executable, "-c", f"{COMMON}{what}\nasyncio.run(main({kept}))"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's heaps")
def test_threads_share_two_heaps() -> None:
    if said(HEAPS, "contextlib.nullcontext()").count("<heap nr=") < 4:
        pytest.skip("this C library does not open a heap for each thread")
    assert said(HEAPS, "kept_compact()").count("<heap nr=") == 2


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's heaps")
def test_what_is_free_goes_back_to_the_system() -> None:
    if int(said(FREE, "contextlib.nullcontext()")) > 50:
        pytest.skip("this C library gives back what is free by itself")
    assert int(said(FREE, "kept_compact(0.05)")) > 100


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc to count threads")
async def test_pictures_that_are_kept_keep_no_threads(tmp_path: Path) -> None:
    """The newest picture of each stream is kept for viewers, and FFmpeg's converters have a thread for each core."""
    clip = draw(tmp_path / "clip.mp4", frames=40, width=640, height=480)
    frames = [item async for item in opened(StreamSettings(str(clip))) if isinstance(item, Frame)]
    pixels = [frames[0].pixels()]
    before = threads()
    pixels += [frame.pixels() for frame in frames]
    assert threads() <= before


def threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))
