"""Cameras and files behind HTTP on loopback: MJPEG as webcams and cheap cameras send it, mp4, HLS.

    with HttpServer() as server:
        av.open(server.mjpeg("cam", path))
        av.open(server.file("clip.mp4", path))
        av.open(server.hls("list", path, tmp_path))

RFC 9110 (HTTP, ranges), RFC 2046 §5.1 (multipart), RFC 8216 (HLS). Each client has a thread; pictures are
encoded beforehand, so that serving costs next to nothing.
"""

from __future__ import annotations

import base64
import contextlib
import re
import threading
import time
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import av

from .rtsp import camera_url
from .session import Access

BOUNDARY = "picture"


class Motion(NamedTuple):
    """Pictures as JPEG files, and how many are shown a second."""

    jpegs: list[bytes]
    fps: float


class HttpServer:
    """Serves what `mjpeg`, `file` and `hls` put up, each of which gives the address for it."""

    def __init__(self, *, access: Access | None = None) -> None:
        self.access = access
        """Basic only, whatever its kind says: digest over HTTP is not made here."""
        self.files: dict[str, Path] = {}
        self.motions: dict[str, Motion] = {}
        self.flowing = threading.Event()
        """Cleared: MJPEG streams stall, their connections stay open."""
        self.flowing.set()
        self.stopped = False

    def __enter__(self) -> Self:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.site = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="http test server")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopped = True
        self.flowing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def url(self, name: str, *, credentials: bool = False) -> str:
        return camera_url("http", "127.0.0.1", self._server.server_port, name, self.access if credentials else None)

    def mjpeg(self, name: str, clip: Path, *, frames: int = 50) -> str:
        """The first pictures of a clip, round and round in real time (multipart/x-mixed-replace)."""
        self.motions[name] = _encode_jpegs(clip, frames)
        return self.url(name)

    def file(self, name: str, path: Path) -> str:
        """A file, in parts where a client asks for ranges, as it must to read an mp4 with its index last."""
        self.files[name] = path
        return self.url(name)

    def hls(self, name: str, clip: Path, folder: Path) -> str:
        """A finished HLS playlist of the clip, cut at key pictures into segments of about a second."""
        playlist = folder / "index.m3u8"
        options = {"hls_time": "1", "hls_list_size": "0"}
        with (
            av.open(str(clip)) as reader,
            av.open(str(playlist), "w", format="hls", options=options) as writer,
        ):
            source = reader.streams.video[0]
            target = writer.add_stream_from_template(source)
            for packet in reader.demux(source):
                if packet.dts is not None:
                    packet.stream = target
                    writer.mux(packet)
        self.files |= {f"{name}/{path.name}": path for path in folder.iterdir()}
        return self.url(f"{name}/{playlist.name}")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    site: HttpServer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 5.0
    """Seconds that a client may refuse to read before its connection is given up."""
    server: _Server

    def do_GET(self) -> None:
        site, name = self.server.site, self.path.partition("?")[0].strip("/")
        self.close_connection = True
        with contextlib.suppress(ConnectionError, TimeoutError):  # clients go as they please
            if not self._allowed(site.access):
                self._refuse(401, {"WWW-Authenticate": 'Basic realm="camera"'})
            elif name in site.motions:
                self._send_motion(site, site.motions[name])
            elif name in site.files:
                self._send_file(site.files[name])
            else:
                self._refuse(404, {})

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class has it
        """Says nothing: tests print enough."""

    def _allowed(self, access: Access | None) -> bool:
        if access is None:
            return True
        pair = base64.b64encode(f"{access.user}:{access.password}".encode()).decode()
        return self.headers.get("Authorization") == f"Basic {pair}"

    def _refuse(self, code: int, headers: dict[str, str]) -> None:
        self._begin(code, {"Content-Length": "0"} | headers)

    def _begin(self, code: int, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in ({"Connection": "close"} | headers).items():
            self.send_header(name, value)
        self.end_headers()

    def _send_motion(self, site: HttpServer, motion: Motion) -> None:
        self._begin(200, {"Content-Type": f"multipart/x-mixed-replace; boundary={BOUNDARY}"})
        due = time.monotonic()
        while not site.stopped:
            for jpeg in motion.jpegs:
                head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                self.wfile.write(head.encode() + jpeg + b"\r\n")
                due = max(due + 1 / motion.fps, time.monotonic() - 1)
                time.sleep(max(0.0, due - time.monotonic()))
                site.flowing.wait()
                if site.stopped:
                    return

    def _send_file(self, path: Path) -> None:
        data = path.read_bytes()
        size = len(data)
        headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes"}
        if found := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(found[1]), min(int(found[2] or size - 1), size - 1)
            if first >= size:
                self._refuse(416, {"Content-Range": f"bytes */{size}"})
                return
            data = data[first : last + 1]
            headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        code = 206 if found else 200
        self._begin(code, headers | {"Content-Length": str(len(data))})
        self.wfile.write(data)


def _encode_jpegs(clip: Path, frames: int) -> Motion:
    with av.open(str(clip)) as reader:
        stream = reader.streams.video[0]
        fps = stream.average_rate or Fraction(25)
        encoder = av.CodecContext.create("mjpeg", "w")
        encoder.width, encoder.height = stream.width, stream.height
        encoder.pix_fmt, encoder.time_base = "yuvj420p", 1 / fps
        jpegs: list[bytes] = []
        for number, picture in enumerate(islice(reader.decode(stream), frames)):
            shown = picture.reformat(format="yuvj420p")
            shown.pts, shown.time_base = number, 1 / fps
            jpegs += [bytes(packet) for packet in encoder.encode(shown)]
        jpegs += [bytes(packet) for packet in encoder.encode(None)]
    return Motion(jpegs, float(fps))
