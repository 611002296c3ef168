"""Starts `gst_rtsp.py` from tests, where this machine has what it needs.

@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_...():
    with GstProcess({"cam": path}) as server:
        av.open(server.url("cam"))
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from .process import ServerProcess
from .rtsp import camera_url
from .session import Access

SCRIPT = Path(__file__).with_name("gst_rtsp.py")

PROBE = """
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GstApp, GstRtspServer
Gst.init(None)
names = "filesrc qtdemux h264parse h265parse rtph264pay rtph265pay appsrc appsink".split()
lacking = [name for name in names if Gst.ElementFactory.find(name) is None]
if lacking:
    raise SystemExit("GStreamer lacks " + ", ".join(lacking))
"""


def _system_python() -> str | None:
    """The system's own interpreter: PyGObject is installed with it, never in a virtual environment."""
    return shutil.which("python3", path=os.defpath)


@cache
def missing() -> str | None:
    """Why gst-rtsp-server cannot run on this machine, or None when it can."""
    python = _system_python()
    if python is None:
        return "no system Python"
    try:
        probe = subprocess.run([python, "-I", "-c", PROBE], capture_output=True, text=True, timeout=30, check=False)
    except subprocess.TimeoutExpired:
        return "gst-rtsp-server: GStreamer did not start within 30 s"
    if probe.returncode == 0:
        return None
    *_, why = probe.stderr.strip().splitlines() or ["failed without a word"]
    return f"gst-rtsp-server: {why}"


class GstProcess(ServerProcess):
    """gst-rtsp-server with a mount for each clip, until the `with` block is left."""

    def __init__(self, mounts: Mapping[str, Path], *, access: Access | None = None) -> None:
        self._access = access
        # -I keeps this folder off the module path: http.py in it would hide the standard library's `http`
        command = [_system_python() or "python3", "-I", str(SCRIPT)]
        if access:
            command += ["--auth", access.kind, "--user", access.user, f"--password={access.password}"]
        super().__init__([*command, *(f"{name}={path}" for name, path in mounts.items())])

    def url(self, mount: str, *, credentials: bool = False) -> str:
        return camera_url("rtsp", "127.0.0.1", self.port, mount, self._access if credentials else None)
