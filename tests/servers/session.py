"""One client's RTSP conversation with a test camera (RFC 2326; basic and digest passwords: RFC 2617)."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import random
import re
import socket
import ssl
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from .rtp import describe
from .streaming import Mount, Stats, Stream, TcpChannel, UdpChannel

REASONS = {
    200: "OK",
    401: "Unauthorized",
    404: "Not Found",
    453: "Not Enough Bandwidth",
    455: "Method Not Valid in This State",
    461: "Unsupported Transport",
    501: "Not Implemented",
}

METHODS = "OPTIONS, DESCRIBE, SETUP, PLAY, GET_PARAMETER, TEARDOWN"


@dataclass(frozen=True)
class Access:
    """Who may watch. The default password holds the characters that break a URL when not percent-encoded."""

    kind: Literal["basic", "digest"] = "digest"
    user: str = "viewer"
    password: str = "p@ss:w/rd?#%"


@dataclass(frozen=True)
class Request:
    method: str
    url: str
    headers: Mapping[str, str]

    @property
    def mount(self) -> str:
        return urlsplit(self.url).path.removesuffix("/track0").strip("/")


@dataclass
class Reply:
    code: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""

    def encode(self, sequence: str) -> bytes:
        lines = [f"RTSP/1.0 {self.code} {REASONS.get(self.code, 'Refused')}", f"CSeq: {sequence}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        lines += [f"Content-Length: {len(self.body)}"] if self.body else []
        return ("\r\n".join(lines) + "\r\n\r\n" + self.body).encode()


@dataclass
class Site:
    """What the connections of one server share."""

    host: str
    mounts: dict[str, Mount]
    access: Access | None
    stats: Stats = field(default_factory=Stats)


class Connection:
    """One client: its requests in, replies out, and the one stream it may have."""

    def __init__(
        self,
        site: Site,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        chance: random.Random,
    ) -> None:
        self.closed = asyncio.Event()
        self._site = site
        self._reader = reader
        self._writer = writer
        self._chance = chance
        self._nonce = f"{chance.randrange(2**64):016x}"
        self._session = f"{chance.randrange(2**32):08x}"
        self._stream: Stream | None = None
        self._playing: asyncio.Task[None] | None = None
        self._channel: TcpChannel | UdpChannel | None = None

    def reset(self) -> None:
        """Drops the connection with RST: zero linger makes the kernel throw away what was not sent yet."""
        with contextlib.suppress(OSError):
            raw: socket.socket = self._writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def run(self) -> None:
        try:
            while True:
                request = await self._read_request()
                mount = self._site.mounts.get(request.mount)
                if mount is None or not mount.faults.black_hole:
                    reply = self._reply(request, mount)
                    self._writer.write(reply.encode(request.headers.get("cseq", "0")))
                    await self._writer.drain()
                    if reply.code == 200:
                        self._start_or_stop(request.method)
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass  # the client is gone, as clients go
        finally:
            await self._stop()
            self._writer.close()

    async def _read_request(self) -> Request:
        """The next request; RTCP of the client in between is skipped (RFC 2326 §10.12)."""
        while (first := await self._reader.readexactly(1)) == b"$":
            _, size = struct.unpack("!BH", await self._reader.readexactly(3))
            await self._reader.readexactly(size)
        head = (first + await self._reader.readuntil(b"\r\n\r\n")).decode()
        start, *lines = head.strip().split("\r\n")
        method, url, _ = start.split(" ", 2)
        pairs = (line.partition(":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        await self._reader.readexactly(int(headers.get("content-length", 0)))
        return Request(method, url, headers)

    def _reply(self, request: Request, mount: Mount | None) -> Reply:
        """OPTIONS needs no password (RFC 2326 §10.1); everything else first passes the camera's checks."""
        if request.method == "OPTIONS":
            return Reply(headers={"Public": METHODS})
        if not self._allowed(request):
            return self._challenge()
        if mount is None:
            return Reply(404)
        refuse = mount.faults.refuse
        if refuse is not None and request.method == ("SETUP" if refuse == 453 else "DESCRIBE"):
            return self._challenge() if refuse == 401 else Reply(refuse)
        return self._obey(request, mount)

    def _obey(self, request: Request, mount: Mount) -> Reply:
        base = request.url.rstrip("/")
        session = {"Session": self._session}
        match request.method, self._stream:
            case "DESCRIBE", _:
                headers = {"Content-Base": f"{base}/", "Content-Type": "application/sdp"}
                return Reply(headers=headers, body=describe(mount.clip))
            case "SETUP", None:
                return self._set_up(request, mount)
            case "PLAY", Stream() as stream:
                start = f"seq={stream.sequence & 0xFFFF};rtptime={stream.first_timestamp & 0xFFFFFFFF}"
                info = {"Range": "npt=now-", "RTP-Info": f"url={base}/track0;{start}"}
                return Reply(headers=session | info)
            case "GET_PARAMETER" | "TEARDOWN", _:  # the former, without a body, keeps alive (RFC 2326 §10.8)
                return Reply(headers=session)
            case (("SETUP" | "PLAY"), _):
                return Reply(455)
            case _:
                return Reply(501)

    def _set_up(self, request: Request, mount: Mount) -> Reply:
        """Lays the way to the client that its Transport header asks for (RFC 2326 §12.39)."""
        wanted = request.headers.get("transport", "")
        if found := re.search(r"RTP/AVP/TCP.*interleaved=(\d+)", wanted):
            number = int(found[1])
            self._channel = TcpChannel(self._writer, number)
            transport = f"RTP/AVP/TCP;unicast;interleaved={number}-{number + 1}"
        elif found := re.search(r"RTP/AVP(?:/UDP)?;.*client_port=(\d+)", wanted):
            port = int(found[1])
            channel = UdpChannel(self._site.host, self._writer.get_extra_info("peername")[0], port)
            self._channel = channel
            ports = f"client_port={port}-{port + 1};server_port={channel.port}-{channel.port + 1}"
            transport = f"RTP/AVP;unicast;{ports}"
        else:
            return Reply(461)
        self._stream = Stream(mount, self._channel, self._site.stats, self._chance)
        return Reply(headers={"Transport": transport, "Session": f"{self._session};timeout=60"})

    def _start_or_stop(self, method: str) -> None:
        if method == "PLAY" and self._stream is not None and self._playing is None:
            self._playing = asyncio.create_task(self._stream.run())
        elif method == "TEARDOWN" and self._playing is not None:
            self._playing.cancel()

    async def _stop(self) -> None:
        if self._playing is not None:
            self._playing.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await self._playing
        if self._channel is not None:
            self._channel.close()

    def _challenge(self) -> Reply:
        access = self._site.access or Access("basic")
        nonce = f', nonce="{self._nonce}"' if access.kind == "digest" else ""
        return Reply(401, {"WWW-Authenticate": f'{access.kind.title()} realm="camera"{nonce}'})

    def _allowed(self, request: Request) -> bool:
        access = self._site.access
        given = request.headers.get("authorization", "")
        if access is None:
            return True
        if access.kind == "basic":
            return given == f"Basic {base64.b64encode(f'{access.user}:{access.password}'.encode()).decode()}"
        parts = dict(re.findall(r'(\w+)="([^"]*)"', given))
        who = _md5(f"{access.user}:camera:{access.password}")
        what = _md5(f"{request.method}:{parts.get('uri')}")
        return parts.get("username") == access.user and parts.get("response") == _md5(f"{who}:{self._nonce}:{what}")


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
