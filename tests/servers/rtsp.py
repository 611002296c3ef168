"""A small RTSP 1.0 server that shows clips as cameras do, and fails on demand (RFC 2326).

    async with RtspServer({"cam": path}) as server:
        av.open(server.url("cam"), options={"rtsp_transport": "tcp"}, timeout=(3, 2))
        server.fault("cam", stalled=True)

Clips are sent as they are, in real time, round and round; nothing is encoded. Over TCP and UDP, with or
without password and TLS. In a process of its own: `RtspProcess`, or by hand
`python -m tests.servers.rtsp cam=clip.mp4`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import random
import ssl
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from .process import ServerProcess
from .rtp import load_clip
from .session import Access, Connection, Site
from .streaming import Mount, Stats


class RtspServer:
    """Cameras at `url(mount)`; `fault` and `switch` take effect at once, on running streams too."""

    def __init__(
        self,
        mounts: Mapping[str, Path],
        *,
        port: int = 0,
        access: Access | None = None,
        tls: ssl.SSLContext | None = None,
        seed: int = 0,
    ) -> None:
        cameras = {name: Mount(load_clip(path)) for name, path in mounts.items()}
        self.site = Site("127.0.0.1", cameras, access)
        self.port = port
        self.tls = tls
        self.seed = seed
        self._connections: set[Connection] = set()
        self._listener: asyncio.Server | None = None

    @property
    def stats(self) -> Stats:
        return self.site.stats

    async def __aenter__(self) -> Self:
        await self.restart()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.kill()

    async def restart(self) -> None:
        """Listens (again), on the same port as before."""
        if self._listener is None:
            self._listener = await asyncio.start_server(self._accept, self.site.host, self.port, ssl=self.tls)
            self.port = self._listener.sockets[0].getsockname()[1]

    async def kill(self) -> None:
        """Stops listening and resets every connection (RST); returns when all are gone."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        await self.kick()

    async def kick(self) -> None:
        """Resets every connection but goes on listening. Returns when all are gone."""
        connections = list(self._connections)
        for connection in connections:
            connection.reset()
        await asyncio.gather(*(connection.closed.wait() for connection in connections))

    def url(self, mount: str, *, credentials: bool = False) -> str:
        """The mount's address, on request with user and password in it, percent-encoded."""
        return camera_url(
            "rtsps" if self.tls else "rtsp",
            self.site.host,
            self.port,
            mount,
            self.site.access if credentials else None,
        )

    def fault(self, mount: str | None = None, /, **changes: float | None) -> None:
        """Sets fields of `Faults` on one mount, or on all; fields that are not named stay as they are."""
        for one in self.site.mounts.values() if mount is None else (self.site.mounts[mount],):
            one.faults = dataclasses.replace(one.faults, **changes)  # type: ignore[arg-type]

    def switch(self, mount: str, path: Path) -> None:
        """Lets the mount show another clip from its first picture on, new parameter sets in band."""
        self.site.mounts[mount].clip = load_clip(path)

    async def until(self, condition: Callable[[Stats], bool], patience: float = 10.0) -> None:
        """Waits for the counts to fulfil a condition: `await server.until(lambda stats: stats.live == 0)`."""
        async with asyncio.timeout(patience):
            while not condition(self.site.stats):  # noqa: ASYNC110 - counts are plain numbers, nobody signals
                await asyncio.sleep(0.005)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.site.stats.connections += 1
        chance = random.Random(f"{self.seed} {self.site.stats.connections}")
        connection = Connection(self.site, reader, writer, chance)
        self._connections.add(connection)
        self.site.stats.open += 1
        try:
            await connection.run()
        finally:
            self.site.stats.open -= 1
            self._connections.discard(connection)
            connection.closed.set()


def camera_url(scheme: str, host: str, port: int, mount: str, access: Access | None) -> str:
    who = f"{quote(access.user, safe='')}:{quote(access.password, safe='')}@" if access else ""
    return f"{scheme}://{who}{host}:{port}/{mount}"


class RtspProcess(ServerProcess):
    """The same server in a process of its own, for when this one is busy decoding; for plain code.

        with RtspProcess({"cam": path}) as server:
            av.open(server.url("cam"))
            server.fault("cam", loss=0.05)
            server.kill()

    Each call returns when the server has done it.
    """

    def __init__(
        self,
        mounts: Mapping[str, Path],
        *,
        access: Access | None = None,
        certificate: Path | None = None,
        seed: int = 0,
    ) -> None:
        self._access = access
        self._scheme = "rtsps" if certificate else "rtsp"
        command = [sys.executable, "-m", "tests.servers.rtsp", "--control", "--seed", str(seed)]
        command += ["--auth", access.kind, "--user", access.user, f"--password={access.password}"] if access else []
        command += ["--certificate", str(certificate)] if certificate else []
        super().__init__([*command, *(f"{name}={path}" for name, path in mounts.items())])

    def url(self, mount: str, *, credentials: bool = False) -> str:
        return camera_url(self._scheme, "127.0.0.1", self.port, mount, self._access if credentials else None)

    def fault(self, mount: str | None = None, /, **changes: float | None) -> None:
        self._order("fault", mount=mount, changes=changes)

    def switch(self, mount: str, path: Path) -> None:
        self._order("switch", mount=mount, path=str(path))

    def kill(self) -> None:
        self._order("kill")

    def kick(self) -> None:
        self._order("kick")

    def restart(self) -> None:
        self._order("restart")

    @property
    def stats(self) -> Stats:
        """A copy of the counts as they are now."""
        return self._order("stats")

    def until(self, condition: Callable[[Stats], bool], patience: float = 10.0) -> Stats:
        """Waits for the counts to fulfil a condition."""
        end = time.monotonic() + patience
        while not condition(stats := self.stats):
            if time.monotonic() > end:
                raise TimeoutError(f"not so within {patience} s: {stats}")
            time.sleep(0.01)
        return stats

    def _order(self, verb: str, **details: object) -> Stats:
        self.write_line(json.dumps({"do": verb, **details}))
        answer = json.loads(self.read_line())
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return Stats(**answer)


async def _obey(server: RtspServer, command: dict[str, Any]) -> None:
    match command["do"]:
        case "fault":
            server.fault(command["mount"], **command["changes"])
        case "switch":
            server.switch(command["mount"], Path(command["path"]))
        case "kill":
            await server.kill()
        case "kick":
            await server.kick()
        case "restart":
            await server.restart()


async def _take_orders(server: RtspServer) -> None:
    """One JSON command a line on standard input, the counts or an error back; done when the input ends."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        try:
            await _obey(server, json.loads(line))
            answer = dataclasses.asdict(server.stats)
        except (KeyError, OSError, TypeError, ValueError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


def _server_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


async def _serve(options: argparse.Namespace) -> None:
    mounts = {name: Path(path) for name, _, path in (mount.partition("=") for mount in options.mounts)}
    access = Access(options.auth, options.user, options.password) if options.auth else None
    tls = _server_context(options.certificate) if options.certificate else None
    async with RtspServer(mounts, port=options.port, access=access, tls=tls, seed=options.seed) as server:
        server.fault(loss=options.loss, corrupt=options.corrupt)
        print(f"ready {server.port}", flush=True)
        await (_take_orders(server) if options.control else asyncio.Event().wait())


def main() -> None:
    parser = argparse.ArgumentParser(description="Shows mp4 clips (H.264, H.265) as RTSP cameras on loopback.")
    parser.add_argument("mounts", nargs="+", metavar="NAME=CLIP", help="a camera and the clip that it shows")
    parser.add_argument("--port", type=int, default=0, help="by default a free one, told in the line 'ready PORT'")
    parser.add_argument("--auth", choices=("basic", "digest"))
    parser.add_argument("--user", default=Access.user)
    parser.add_argument("--password", default=Access.password)
    parser.add_argument("--certificate", type=Path, help="PEM file with certificate and key: serve rtsps")
    parser.add_argument("--seed", type=int, default=0, help="of every random choice")
    parser.add_argument("--loss", type=float, default=0.0, help="share of packets lost, 0-1")
    parser.add_argument("--corrupt", type=float, default=0.0, help="share of packets spoilt, 0-1")
    parser.add_argument("--control", action="store_true", help="take JSON commands on standard input, end with it")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
