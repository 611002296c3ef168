"""Memory and threads of the process: what comes and goes leaves nothing behind."""

import subprocess
import sys
from pathlib import Path

import pytest

from streamer.config import StreamSettings
from streamer.face import Frame
from tests.conftest import opened
from tests.servers.clips import draw

HEAPS = """
import ctypes, threading
from streamer.memory import keep_compact
{}
c = ctypes.CDLL(None)
c.malloc.restype = c.fopen.restype = ctypes.c_void_p
gate = threading.Barrier(8)
def take():
    gate.wait()
    c.malloc(1000)
    gate.wait()
threads = [threading.Thread(target=take) for _ in range(8)]
for one in threads: one.start()
for one in threads: one.join()
out = ctypes.c_void_p(c.fopen(b"/dev/stdout", b"w"))
c.malloc_info(0, out)
c.fclose(out)
"""


def heaps(first: str) -> int:
    """How many the C library has opened for eight threads, after `first` was done."""
    command = [sys.executable, "-c", HEAPS.format(first)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.count("<heap nr=")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's heaps")
def test_threads_share_two_heaps() -> None:
    if heaps("") < 4:
        pytest.skip("this C library does not open a heap for each thread")
    assert heaps("keep_compact()") == 2


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
