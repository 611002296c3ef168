"""The program as a process on cameras of ours, watched from outside: what it says, logs, shows, and how large it is."""

import asyncio
import contextlib
import json
import math
import time
from collections.abc import AsyncGenerator, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import cv2
import numpy as np

from tests.servers.clips import read_number
from tests.servers.rtsp import RtspServer
from tests.test_run import Record, Running, frames, records, running

BACK_OFF, STALL = 0.3, 1.0  # seconds: how the streams here are configured
QUICK = {"retry_min": 0.1, "retry_max": BACK_OFF, "stall": STALL, "open_timeout": 1.0}
OLD = 1.0  # seconds after which no picture is shown any more; this machine may be busy
LATER = 1000
FIRST = {"plain": 0, "later": LATER, "wide": LATER, "h265": LATER}  # numbers that the clips begin with, by name
STATES = {"connecting", "live", "stalled", "offline", "ended"}


class Program:
    """`streamer run` on a configuration, and what can be seen of it."""

    def __init__(self, running: Running, config: Path) -> None:
        self.running = running
        self.config = config

    def logged(self, name: str = "cam") -> list[Record]:
        return records(self.config.parent / "logs" / name)

    def size(self) -> tuple[int, int]:
        """Its threads and open files."""
        process = Path(f"/proc/{self.running.process.pid}")
        return len(list((process / "task").iterdir())), len(list((process / "fd").iterdir()))

    async def live(self, name: str = "cam") -> float:
        """Waits until the stream says that it is; seconds that it took."""
        start = time.monotonic()
        async with asyncio.timeout(20):
            await self.running.until(rf"^{name}: live")
        return time.monotonic() - start

    async def fails(self, code: str) -> None:
        """Waits for the next failure, which is of that kind."""
        async with asyncio.timeout(20):
            line = await self.running.until(r"error: ")
        assert line.strip().endswith(f"[{code}]"), line

    async def ask(self, path: str, method: str = "GET") -> Any:
        """The answer of its HTTP server."""
        url = self.running.page.rstrip("/") + path
        async with aiohttp.ClientSession() as session, session.request(method, url) as response:
            assert response.status in (200, 204)
            return await response.json() if response.status == 200 else None

    async def has(self, name: str, **settings: Any) -> None:
        """Waits until these are settings of the stream."""
        await self.until(name, lambda entry: entry["settings"] == entry["settings"] | settings)

    async def until(self, name: str, condition: Callable[[Any], bool]) -> Any:
        """Waits for what `/api/streams` tells of a stream to be so; gives it."""
        async with asyncio.timeout(20):
            while not condition(entry := await self.ask(f"/api/streams/{name}")):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
        return entry


def configure(path: Path, streams: dict[str, dict[str, Any]]) -> None:
    lines = ["[log]", "path = 'logs'"]
    for name, settings in streams.items():
        lines += [f"[streams.{name}]", *(f"{key} = {json.dumps(value)}" for key, value in settings.items())]
    path.write_text("\n".join(lines))


@contextlib.asynccontextmanager
async def program(folder: Path, **streams: dict[str, Any]) -> AsyncGenerator[Program, None]:
    """The program on these streams. At the end it stops in time, and what holds for every run is checked."""
    configure(folder / "run.toml", streams)
    async with running("run", folder / "run.toml", "--verbose") as run:
        yield (started := Program(run, folder / "run.toml"))
        code, seconds = await run.stop()
    assert code == 0
    assert seconds < 8  # two on a machine that is not busy; without an end where it waits for a camera
    for name in streams:
        check_log(started.logged(name))


def check_log(log: list[Record]) -> None:
    """Every frame has its record, nothing is told twice, nothing is old."""
    of_frames = frames(log)
    assert [r["seq"] for r in of_frames] == list(range(len(of_frames)))
    told = [(r["state"], r.get("error", {}).get("code")) for r in log if r["type"] == "status"]
    assert all(before != after for before, after in pairwise(told)), told
    assert {state for state, _ in told} <= STATES
    assert told[-1] == ("ended", None)
    assert max((r["time"]["ageMs"] for r in of_frames if r["status"] == "processed"), default=0) < 3000


class Seen(NamedTuple):
    """A picture as it is shown: its number, and how many seconds ago the camera sent it."""

    number: int
    age: float


@contextlib.asynccontextmanager
async def viewer(run: Program, server: RtspServer, name: str = "cam") -> AsyncGenerator[list[Seen], None]:
    """What somebody sees who looks at the camera on the dashboard. At the end the age of each picture is checked."""
    seen: list[Seen] = []
    sent = server.site.mounts[name].sent

    async def look() -> None:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(run.running.page + "api/preview") as socket,
        ):
            while True:
                await socket.send_str(json.dumps({"want": {name: 640}}))
                answer = await socket.receive_bytes()
                size = int.from_bytes(answer[:4], "big")
                picture = cv2.imdecode(np.frombuffer(answer[4 + size :], np.uint8), cv2.IMREAD_COLOR)
                number, now = read_number(np.asarray(picture, np.uint8)), time.monotonic()
                times = [at for (clip, index), at in sent.items() if index + FIRST[clip] == number]
                seen.append(Seen(number, now - max(times, default=-math.inf)))

    looking = asyncio.create_task(look())
    try:
        yield seen
        assert not looking.done()
        assert max(picture.age for picture in seen) < OLD
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


async def until(condition: Callable[[], bool], patience: float = 10.0) -> float:
    """Waits for it; seconds that it took."""
    start = time.monotonic()
    async with asyncio.timeout(patience):
        while not condition():  # noqa: ASYNC110 - plain numbers of this and other processes, nobody signals
            await asyncio.sleep(0.02)
    return time.monotonic() - start


async def shows(seen: list[Seen], count: int = 3) -> float:
    """Waits for so many more pictures; seconds that it took."""
    goal = len(seen) + count
    return await until(lambda: len(seen) >= goal)


@contextlib.asynccontextmanager
async def cameras(
    folder: Path, clip: Path, streams: dict[str, dict[str, Any]]
) -> AsyncGenerator[tuple[RtspServer, Program, dict[str, list[Seen]]], None]:
    """Cameras with these settings, all of the same clip, that are live in the program and on show."""
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(RtspServer(dict.fromkeys(streams, clip)))
        settings = {name: {"url": server.url(name), **QUICK, **more} for name, more in streams.items()}
        run = await stack.enter_async_context(program(folder, **settings))
        seen = {name: await stack.enter_async_context(viewer(run, server, name)) for name in streams}
        for pictures in seen.values():
            await shows(pictures)
        yield server, run, seen


@contextlib.asynccontextmanager
async def camera(
    folder: Path, clip: Path, **settings: Any
) -> AsyncGenerator[tuple[RtspServer, Program, list[Seen]], None]:
    """One of them, called `cam`; that it was live has been read."""
    async with cameras(folder, clip, {"cam": settings}) as (server, run, seen):
        await run.live()
        yield server, run, seen["cam"]
