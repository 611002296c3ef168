"""The webcams of this machine, for people and for programs, and whether they can be used."""

from typing import Any

import msgspec
from rich.markup import escape
from rich.table import Table

from streamer.doctor.findings import Finding, fine, note
from streamer.media.devices import Mode, Webcam, sources

_HINTS = {
    "forbidden": "may not be opened by this user; streamer doctor says what to do",
    "missing": "has no device file here; streamer doctor says what to do",
}


def webcams(found: list[Webcam], group: str, *, container: bool) -> Finding:
    """Whether they can be opened; `group` is the one that may."""
    if not found:
        return fine("webcams", "none")
    seen = ", ".join(f"{webcam.name or webcam.path} ({_said(webcam, found)})" for webcam in found)
    paths = [webcam.path for webcam in found if webcam.state != "ready"]
    if not paths:
        return fine("webcams", seen)
    if container:
        devices = " ".join(f"--device {path}" for path in paths)
        fix = f"start the container with: {devices} --group-add {group}"
    elif any(webcam.state == "forbidden" for webcam in found):
        fix = f"sudo usermod -aG {group} $USER, then log in again"
    else:
        fix = "sudo udevadm trigger --subsystem-match=video4linux, which makes the missing device files"
    return note("webcams", f"{seen}; cannot be opened: {', '.join(paths)}", fix)


def report(found: list[Webcam]) -> str:
    """All webcams as one JSON object."""
    listed: list[dict[str, Any]] = [
        msgspec.structs.asdict(webcam) | {"sources": list(sources(webcam, found))} for webcam in found
    ]
    return msgspec.json.format(msgspec.json.encode({"webcams": listed}), indent=2).decode()


def table(found: list[Webcam]) -> Table:
    """A row a webcam: how to name it as a source, and the largest pictures of each format."""
    rows = Table("--source", "or", "device", "pictures", box=None, pad_edge=False)
    for webcam in found:
        said = sources(webcam, found) or (webcam.path,)
        others = ", ".join(f'"{source}"' for source in said[1:]) or webcam.path
        pictures = _HINTS.get(webcam.state) or _largest(webcam.modes) or "unknown"
        rows.add_row(escape(said[0]), escape(others), escape(webcam.path), escape(pictures))
    return rows


def _said(webcam: Webcam, found: list[Webcam]) -> str:
    return (sources(webcam, found) or (webcam.path,))[0]


def _largest(modes: tuple[Mode, ...]) -> str:
    best: dict[str, Mode] = {}
    for mode in modes:
        largest = best.setdefault(mode.format, mode)
        if mode.width * mode.height > largest.width * largest.height:
            best[mode.format] = mode
    return ", ".join(
        f"{mode.format} {mode.width}x{mode.height}" + (f" {mode.fps:g} fps" if mode.fps else "")
        for mode in best.values()
    )
