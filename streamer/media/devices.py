"""The webcams of this machine: which there are, how they are called, and how to name one as a source."""

import contextlib
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import msgspec

from streamer.errors import NotFoundError, SourceError

NAMED = "webcam:"  # how an address begins that gives a webcam's name


class Mode(msgspec.Struct, frozen=True):
    """Pictures that a camera can give: `format` in four letters, `fps` the most of them a second, 0 if unknown."""

    format: str
    width: int
    height: int
    fps: float


class Node(msgspec.Struct, frozen=True):
    """What a Linux device node says of itself. A camera has several; only some of them give pictures."""

    name: str
    captures: bool
    modes: tuple[Mode, ...] = ()


class Webcam(msgspec.Struct, frozen=True):
    """`index` and `path` are what the system calls it; `state`: this user may not open it (`forbidden`), or it has no
    device file, as in a container that was not given it (`missing`).
    """

    index: int | None
    path: str
    name: str
    state: Literal["ready", "forbidden", "missing"] = "ready"
    modes: tuple[Mode, ...] = ()


def list_webcams() -> list[Webcam]:
    """All webcams. Raises SourceError where this platform does not tell."""
    if sys.platform == "linux":
        from streamer.media.v4l2 import query

        return linux_webcams(Path("/sys"), Path("/dev"), query)
    return _listed_by_ffmpeg("avfoundation" if sys.platform == "darwin" else "dshow")


def sources(webcam: Webcam, webcams: list[Webcam]) -> tuple[str, ...]:
    """What `--source` may be to mean this one of `webcams`, the shortest first."""
    alike = [other for other in webcams if other.name.casefold() == webcam.name.casefold()]
    number = () if webcam.index is None else (str(webcam.index),)
    return (*number, *((f"{NAMED}{webcam.name}",) if webcam.name and len(alike) == 1 else ()))


def find_webcam(name: str, webcams: list[Webcam]) -> Webcam:
    """The one called `name`, or the only one whose name holds it; case does not matter.

    Raises NotFoundError if there is none, SourceError if several could be meant.
    """
    wanted = name.strip().casefold()
    same = [webcam for webcam in webcams if webcam.name.casefold() == wanted]
    found = same or [webcam for webcam in webcams if wanted and wanted in webcam.name.casefold()]
    if not found:
        there = ", ".join(f"{webcam.name} ({webcam.path})" for webcam in webcams)
        raise NotFoundError(f"no webcam is called {name!r}", f"there are: {there}" if there else "plug one in")
    if len(found) > 1:
        paths = ", ".join(f"{webcam.name}: {webcam.path}" for webcam in found)
        raise SourceError(f"several webcams could be {name!r}", f"give one's number or path: {paths}")
    return found[0]


def linux_webcams(system: Path, devices: Path, query: Callable[[Path], Node]) -> list[Webcam]:
    """The webcams below `system` (/sys) and `devices` (/dev), by number; `query` asks a device file for its own words
    and raises OSError where it has none.
    """
    described = system / "class" / "video4linux"
    numbers = sorted(_numbers(described) | _numbers(devices))
    found = (
        _linux_webcam(number, described / f"video{number}", devices / f"video{number}", query) for number in numbers
    )
    return [webcam for webcam in found if webcam]


def _linux_webcam(number: int, described: Path, device: Path, query: Callable[[Path], Node]) -> Webcam | None:
    """None for a node that gives no pictures, such as the one for a camera's metadata."""
    name, first = _line(described / "name"), _line(described / "index") in ("", "0")
    if not device.exists():
        return Webcam(number, str(device), name, "missing") if first else None
    try:
        node = query(device)
    except PermissionError:
        return Webcam(number, str(device), name, "forbidden") if first else None
    except OSError:  # in use, say: then the number of the node within its camera has to tell
        node = Node(name, captures=first)
    return Webcam(number, str(device), name or node.name, "ready", node.modes) if node.captures else None


def _numbers(folder: Path) -> set[int]:
    names = (path.name.removeprefix("video") for path in folder.glob("video*"))
    return {int(name) for name in names if name.isdecimal()}


def _line(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace").strip()
    return ""


def _listed_by_ffmpeg(capture: str) -> list[Webcam]:
    import av

    try:
        from av.device import enumerate_input_devices

        return ffmpeg_webcams(capture, enumerate_input_devices(capture))
    except (ImportError, ValueError, av.error.FFmpegError) as error:
        raise SourceError(
            f"this PyAV ({av.__version__}) cannot list webcams: {error}",
            "bring it up to date: python -m pip install --upgrade av",
        ) from None


def ffmpeg_webcams(capture: str, listed: Iterable[Any]) -> list[Webcam]:
    """Webcams out of PyAV's list for the format `capture`: DirectShow names them, AVFoundation numbers them, too."""
    cameras = [device for device in listed if "video" in device.media_types]
    if capture == "dshow":
        return [Webcam(None, f"video={device.description}", device.description) for device in cameras]
    return [Webcam(int(device.name), device.name, device.description) for device in cameras if device.name.isdecimal()]
