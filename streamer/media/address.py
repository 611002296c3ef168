"""What a source's address means: how PyAV is to open it, and whether it is live."""

import sys
from pathlib import Path
from typing import Literal

import msgspec

from streamer.config import StreamSettings, address
from streamer.errors import NotFoundError, NotVideoError, SourceError, redact_address
from streamer.media.devices import NAMED, find_webcam, list_webcams

Kind = Literal["demo", "webcam", "rtsp", "network", "file"]

_LIVE_SCHEMES = {"rtmp", "rtmps", "udp", "rtp", "tcp", "srt"}
_WEB_SCHEMES = {"http", "https"}


class Address(msgspec.Struct, frozen=True):
    """`url` (with its secrets), `format` and `options` as PyAV takes them; `live` is None where only opening tells."""

    kind: Kind
    url: str
    live: bool | None
    format: str | None = None
    options: dict[str, str] = {}

    @property
    def shown(self) -> str:
        """The address for messages, without its secrets."""
        return redact_address(self.url)


def resolve(stream: StreamSettings) -> Address:
    """The address of `stream`. Raises SourceError for one that nothing can be meant by."""
    url = address(stream)
    scheme = url.partition("://")[0].lower() if "://" in url else ""
    if url == "demo":
        return Address("demo", url, live=True)
    if stream.format:
        return Address("webcam", url, live=True, format=stream.format)
    if url.isdigit() or url.startswith(("/dev/video", "/dev/v4l/", "video=", NAMED)):
        return _webcam(url)
    if scheme in ("rtsp", "rtsps"):
        # The default probing of the frame rate alone costs most of a second before the first picture.
        options = {"rtsp_transport": stream.transport, "fpsprobesize": "0", "rtp_set_prft": "1"}
        return Address("rtsp", url, live=True, options=options)
    if scheme in _LIVE_SCHEMES:
        return Address("network", url, live=True)
    if scheme in _WEB_SCHEMES:
        return Address("network", url, live=None)
    if scheme not in ("", "file"):
        known = ", ".join(sorted(_LIVE_SCHEMES | _WEB_SCHEMES | {"rtsp", "rtsps", "file"}))
        raise SourceError(
            f"{redact_address(url)}: cannot open addresses that begin with {scheme}://", f"known: {known}"
        )
    return Address("file", str(Path(url.removeprefix("file://")).expanduser()), live=False)


def check(where: Address) -> Address:
    """Look at a file or device before FFmpeg does, whose messages say less. Raises SourceError.

    Answers with the address to open: a webcam that is known by its name may have got another number meanwhile.
    """
    if where.kind == "webcam" and where.url.startswith(NAMED):
        where = msgspec.structs.replace(where, url=find_webcam(where.url.removeprefix(NAMED), list_webcams()).path)
    path = Path(where.url)
    if where.kind == "webcam" and where.format == "v4l2" and not path.exists():
        raise NotFoundError(f"{path}: no such webcam", "plug it in, or list those there are with: streamer devices")
    if where.kind != "file":
        return where
    if not path.exists():
        raise NotFoundError(f"{path}: no such file", "give a video file, rtsp:// or http(s):// address, webcam or demo")
    if path.is_dir():
        raise NotVideoError(f"{path}: is a folder", "name one video file; each file is a stream of its own")
    if path.is_file() and path.stat().st_size == 0:
        raise NotVideoError(f"{path}: the file is empty (0 bytes)", "was its recording or copy cut off?")
    return where


def _webcam(url: str) -> Address:
    """A camera by number or by its name, through the capture format of this platform."""
    if sys.platform == "darwin":
        return Address("webcam", url.removeprefix(NAMED), True, "avfoundation", {"framerate": "30"})
    if sys.platform == "win32":
        url = f"video={url.removeprefix(NAMED)}" if url.startswith(NAMED) else url
        if url.isdigit():
            raise SourceError(
                f"webcam {url}: Windows names webcams", "use webcam:NAME; the names are listed by: streamer devices"
            )
        return Address("webcam", url, True, "dshow")
    return Address("webcam", f"/dev/video{url}" if url.isdigit() else url, True, "v4l2")
