"""Memory: threads that come and go do not each leave a heap of their own behind."""

import subprocess
import sys

import pytest

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
