"""Real-time face analysis of camera streams: camera in, faces JSON out.

>>> from streamer import FaceAnalyzer
>>> faces = FaceAnalyzer().analyze(picture)  # uint8 (height, width, 3), BGR

Importing this package is cheap: OpenVINO and OpenCV are loaded when an analyzer is made.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Face", "FaceAnalyzer", "FrameResult", "StreamerError", "__version__"]

if TYPE_CHECKING:
    from streamer.api import FaceAnalyzer
    from streamer.errors import StreamerError
    from streamer.face import Face, FrameResult

_HOMES = {
    "Face": "streamer.face",
    "FrameResult": "streamer.face",
    "FaceAnalyzer": "streamer.api",
    "StreamerError": "streamer.errors",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
