"""A thousand websocket clients, some of which never read: how late records reach the others, and what it costs.

    python -m tests.bench.push [--clients 1000] [--silent 20] [--rate 25] [--seconds 20]

The server is the program's own, in this process; the clients are in a second one, as plain sockets that parse no more
than they must, so that the figures are the server's. Both are on this machine and compete for its cores.
"""

import argparse
import asyncio
import base64
import contextlib
import multiprocessing
import os
import re
import resource
import struct
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from streamer.config import ServerSettings
from streamer.contract import encode
from streamer.face import Face, Floats, Frame, FrameResult, HeadPose, no_pixels
from streamer.flow import Hub, frame_message
from streamer.outputs.push import push_server
from streamer.records import frame_record

_PUBLISHED = re.compile(rb'"bench":([0-9.]+)')


def five_faces(seq: int) -> FrameResult:
    """A result as a camera gives it; its one timing is when it was made, on the monotonic axis in milliseconds."""
    now = time.monotonic()
    frame = Frame(seq, seq, now, time.time(), now, 1920, 1080, no_pixels, pts=seq / 25)
    return FrameResult(frame, tuple(_face(n) for n in range(5)), {"bench": now * 1000}, 0, now)


def _face(n: int) -> Face:
    box: Floats = np.array([100, 100, 220, 260], np.float32) + np.float32(200 * n)
    return Face(
        box=box,
        score=0.93,
        landmarks=np.full((5, 2), 150, np.float32) + np.float32(200 * n),
        age=33.3,
        female=0.8,
        emotions=np.array([0.1, 0.1, 0.1, 0.4, 0.1, 0.1, 0.1], np.float32),
        quality=0.8,
        track_id=n + 1,
        head_pose=HeadPose(1.5, 2.5, 3.5),
    )


class Reader(asyncio.Protocol):
    """A client that notes how late each record comes. Frames of RFC 6455 from a server carry no mask."""

    def __init__(self, late: list[float]) -> None:
        self._late = late
        self._buffer = bytearray()
        self._open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            f"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        now = time.monotonic() * 1000
        self._buffer += data
        if not self._open:
            head, found, rest = self._buffer.partition(b"\r\n\r\n")
            if not found:
                return
            assert b" 101 " in head, head
            self._open, self._buffer = True, rest
        while len(self._buffer) >= 4:
            size, start = self._buffer[1] & 127, 2
            if size == 126:
                size, start = struct.unpack_from("!H", self._buffer, 2)[0], 4
            if len(self._buffer) < start + size:
                return
            found_at = _PUBLISHED.search(self._buffer, start, start + size)
            if found_at:
                self._late.append(now - float(found_at[1]))
            del self._buffer[: start + size]


class Silent(Reader):
    """A client that never reads after its handshake."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()


def clients(port: int, readers: int, silent: int, pipe: Connection) -> None:
    """The second process: connects everybody, says so, and answers with the delays once it is told to stop."""

    async def run() -> None:
        loop, late = asyncio.get_running_loop(), list[list[float]]()
        transports = []
        for n in range(readers + silent):
            mine: list[float] = []
            kind = Reader if n < readers else Silent
            transport, _ = await loop.create_connection(lambda k=kind, m=mine: k(m), "127.0.0.1", port)  # type: ignore[misc]
            transports.append(transport)
            if n < readers:
                late.append(mine)
        pipe.send("connected")
        await asyncio.to_thread(pipe.recv)
        pipe.send(late)

    asyncio.run(run())


async def measure(options: argparse.Namespace) -> None:
    hub = Hub("bench")
    here, there = multiprocessing.Pipe()
    async with push_server(hub, ServerSettings(ws_port=0), lambda: b'{"type":"hello"}') as port:
        process = multiprocessing.get_context("spawn").Process(
            target=clients, args=(port, options.clients, options.silent, there)
        )
        process.start()
        await asyncio.to_thread(here.recv)
        print(f"{options.clients} clients that read and {options.silent} that do not are connected")
        before, start, memory = time.process_time(), time.monotonic(), list[int]()
        count = round(options.rate * options.seconds)
        for seq in range(count):
            await asyncio.sleep(max(start + seq / options.rate - time.monotonic(), 0))
            result = five_faces(seq)
            await hub.publish(frame_message("cam", encode(frame_record(result, "cam", "bench")), result))
            if seq % round(options.rate) == 0:
                memory.append(_resident())
        took, cpu = time.monotonic() - start, time.process_time() - before
        here.send("stop")
        late: list[list[float]] = await asyncio.to_thread(here.recv)
        process.join()
    everybody = np.array([ms for one in late for ms in one])
    worst = max(float(np.percentile(one, 99)) for one in late if one)
    delivered = len(everybody) / (count * options.clients)
    print(f"published {count} records in {took:.1f} s; delivered to readers: {delivered:.1%}")
    print(f"delivery ms: p50 {np.percentile(everybody, 50):.1f}, p99 {np.percentile(everybody, 99):.1f}, ", end="")
    print(f"the worst reader's p99 {worst:.1f}, longest {everybody.max():.1f}")
    print(f"server CPU: {cpu / took:.0%} of a core; resident MB: {memory[0]} at first, {memory[-1]} at last, ", end="")
    print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10}")


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() >> 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--silent", type=int, default=20)
    parser.add_argument("--rate", type=float, default=25, help="records a second")
    parser.add_argument("--seconds", type=float, default=20)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit[1], limit[1]))
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
