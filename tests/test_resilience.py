"""Cameras that die, freeze, lose packets and change: the program as a process comes back each time, and shows no old
picture as a new one.
"""

import asyncio
import contextlib
import json
import math
import os
import signal
import time
from collections.abc import AsyncGenerator, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import aiohttp
import cv2
import numpy as np
import pytest
from websockets.asyncio.client import connect

from tests.servers.clips import draw, read_number
from tests.servers.rtsp import RtspServer
from tests.servers.session import Access
from tests.test_run import Record, Running, frames, records, running

BACK_OFF, STALL = 0.3, 1.0  # seconds: how streams are configured here
IN_TIME = BACK_OFF + 2.0  # seconds from when a camera is well again until its stream is live
OLD = 1.0  # seconds after which no picture is shown any more; this machine may be busy
LATER = 1000
FIRST = {"plain": 0, "later": LATER, "wide": LATER, "h265": LATER}  # numbers that the clips begin with
QUICK = {"retry_min": 0.1, "retry_max": BACK_OFF, "stall": STALL, "open_timeout": 1.0}
STATES = {"connecting", "live", "stalled", "offline", "ended"}

Clips = dict[str, Path]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    """Numbered pictures; those of the others have numbers that those of `plain` have not."""
    folder = tmp_path_factory.mktemp("clips")
    how: dict[str, Any] = {"wide": {"width": 640, "height": 360}, "h265": {"codec": "libx265"}}
    return {
        name: draw(folder / f"{name}.mp4", frames=300, first=first, **how.get(name, {}))
        for name, first in FIRST.items()
    }


class Program:
    """`streamer run` on a configuration, and what can be seen of it."""

    def __init__(self, running: Running, config: Path) -> None:
        self.running = running
        self.config = config

    def logged(self, name: str = "cam") -> list[Record]:
        return records(self.config.parent / "logs" / f"{name}.jsonl")

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
    assert seconds < 2
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
    assert max((r["time"]["ageMs"] for r in of_frames if r["status"] == "processed"), default=0) < 1000


class Seen(NamedTuple):
    """A picture as it is shown: its number, and how many seconds ago the camera sent it."""

    number: int
    age: float


@contextlib.asynccontextmanager
async def viewer(run: Program, server: RtspServer) -> AsyncGenerator[list[Seen], None]:
    """What somebody sees who looks at the camera on the dashboard. At the end the age of each picture is checked."""
    seen: list[Seen] = []
    sent = server.site.mounts["cam"].sent

    async def look() -> None:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(run.running.page + "api/preview") as socket,
        ):
            while True:
                await socket.send_str(json.dumps({"want": {"cam": 640}}))
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
async def camera(
    folder: Path, clip: Path, **settings: Any
) -> AsyncGenerator[tuple[RtspServer, Program, list[Seen]], None]:
    """A camera that is live in the program and on show."""
    async with (
        RtspServer({"cam": clip}) as server,
        program(folder, cam={"url": server.url("cam"), **QUICK, **settings}) as run,
        viewer(run, server) as seen,
    ):
        await run.live()
        await shows(seen)
        yield server, run, seen


async def sends(server: RtspServer, count: int) -> None:
    """Waits until the camera has sent so many more pictures."""
    goal = server.stats.frames + count
    await server.until(lambda stats: stats.frames >= goal)


def states(log: list[Record]) -> list[str]:
    return [r["state"] for r in log if r["type"] == "status"]


async def no_larger(run: Program, size: tuple[int, int]) -> None:
    """Threads and open files of the program are as many as they were; a leak of one for each failure would be seen."""
    await until(lambda: all(now <= before + 3 for now, before in zip(run.size(), size, strict=True)))


async def test_a_camera_that_dies_again_and_again(clips: Clips, tmp_path: Path) -> None:
    async with camera(tmp_path, clips["plain"]) as (server, run, seen):
        sizes: list[tuple[int, int]] = []
        for _ in range(20):
            await server.kill()
            await run.fails("ended")
            await server.restart()
            assert await run.live() < IN_TIME
            await shows(seen)
            sizes.append(run.size())
        await no_larger(run, sizes[0])
    assert states(run.logged()).count("live") == 21


async def test_a_camera_that_freezes_again_and_again(clips: Clips, tmp_path: Path) -> None:
    async with camera(tmp_path, clips["plain"]) as (server, run, seen):
        sizes: list[tuple[int, int]] = []
        for n in range(5):
            server.fault(stalled=True)
            await run.fails("timeout")
            before = len(seen)
            server.switch("cam", clips["plain" if n % 2 else "later"])
            server.fault(stalled=False)
            assert await run.live() < IN_TIME
            await shows(seen)
            assert {picture.number >= LATER for picture in seen[before:]} == {n % 2 == 0}  # none from before
            sizes.append(run.size())
        await no_larger(run, sizes[0])
    assert states(run.logged()) == ["connecting", "live", *["stalled", "live"] * 5, "ended"]


@pytest.mark.parametrize(("transport", "fault"), [("udp", "loss"), ("tcp", "corrupt")])
async def test_packets_that_are_lost_or_spoilt(clips: Clips, tmp_path: Path, transport: str, fault: str) -> None:
    async with camera(tmp_path, clips["plain"], transport=transport) as (server, _run, seen):
        server.fault(**{fault: 0.05})
        await sends(server, 75)
        server.fault(**{fault: 0.0})
        assert await shows(seen, 10) < IN_TIME + STALL
        assert server.stats.lost + server.stats.corrupted > 3
        # What was damaged may have shown anything; after the next key picture all is well again.
        await sends(server, 30)
        seen.clear()
        await shows(seen)


@pytest.mark.parametrize("kind", ["wide", "h265"])
@pytest.mark.parametrize("kicked", [False, True], ids=["goes on", "hangs up"])
async def test_a_camera_that_is_set_to_another_size_or_codec(
    clips: Clips, tmp_path: Path, kind: str, kicked: bool
) -> None:
    async with camera(tmp_path, clips["plain"]) as (server, run, seen):
        server.switch("cam", clips[kind])
        if kicked:
            await server.kick()
        # A camera that goes on with another codec in the same session is only noticed by its pictures' absence.
        late = STALL if kind == "h265" and not kicked else 0.0
        assert await until(lambda: seen[-1].number >= LATER) < IN_TIME + late
        await shows(seen)
        if kind == "wide":
            assert await run.ask("/api/streams/cam") | {"image": {"width": 640, "height": 360}}
    sizes = [r["image"]["width"] for r in frames(run.logged())]
    assert sizes[0] == 320
    assert sizes[-1] == (640 if kind == "wide" else 320)


NASTY = "s3cr@t:half/t0ken?#%41&'é+ x"
"""Holds whatever breaks an address when it is not encoded, or what is encoded when it is."""


async def test_a_wrong_password_and_then_the_right_one(clips: Clips, tmp_path: Path) -> None:
    """Neither shows in any output, whether it is given beside the address or in it, of cameras there and not there."""
    access, wrong = Access("digest", "us er", NASTY), NASTY.swapcase()
    async with RtspServer({"cam": clips["plain"]}, access=access) as server:
        inside = f"rtsp://{access.user}:{quote(wrong, safe='')}@"
        streams = {
            "cam": {"url": server.url("cam"), "user": access.user, "password": wrong, **QUICK},
            "nobody": {"url": f"{inside}127.0.0.1:9/cam?token={quote(wrong)}", **QUICK},
            "nowhere": {"url": f"{inside}{server.site.host}:{server.port}/nothing", **QUICK},
        }
        async with program(tmp_path, **streams) as run, connect(run.running.websocket) as client:
            async with asyncio.timeout(20):
                for _ in range(3):
                    await run.running.until(r"error: .*\[unreachable\]|\[unauthorized\]")
            assert {r["error"]["code"] for r in run.logged() if "error" in r} == {"unauthorized"}
            streams["cam"] |= {"password": NASTY}
            configure(run.config, streams)
            run.running.process.send_signal(signal.SIGHUP)
            assert await run.live() < IN_TIME
            server.site.access = Access("basic", access.user, "other")
            await server.kick()
            await run.fails("ended")
            await run.fails("unauthorized")
            server.site.access = access
            assert await run.live() < IN_TIME
            told = [json.dumps(await run.ask(path)) for path in ("/api/streams", "/api/streams/cam", "/api/info")]
            async with asyncio.timeout(10):
                told += [str(await client.recv()) for _ in range(10)]
        told += [*run.running.said, *(json.dumps(run.logged(name), ensure_ascii=False) for name in streams)]
        assert run.running.process.stdout is not None
        told.append((await run.running.process.stdout.read()).decode())
    for secret in (NASTY, wrong):
        for piece in (
            secret,
            quote(secret, safe=""),
            quote(secret),
            secret[:4],
            secret[11:16],
            json.dumps(secret)[1:-1],
        ):
            assert not [text for text in told if piece in text], piece


async def test_the_same_state_is_told_once(tmp_path: Path, clips: Clips) -> None:
    """Streams that are changed, paused and taken away while they are in the same state already."""
    async with RtspServer({"cam": clips["plain"]}) as server:
        server.fault(black_hole=True)
        file = {"url": str(draw(tmp_path / "short.mp4", frames=5))}
        async with program(tmp_path, cam={"url": server.url("cam")}, file=file) as run:
            await run.live("file")
            await run.running.until("^file: ended")
            for wait in (2.0, 3.0):
                configure(run.config, {"cam": {"url": server.url("cam"), "stall": wait}, "file": file})
                run.running.process.send_signal(signal.SIGHUP)
                await run.has("cam", stall=wait)
            for _ in range(2):
                assert (await run.ask("/api/streams/cam/pause", "POST"))["paused"]
            await run.ask("/api/streams/file", "DELETE")
            server.fault(black_hole=False)
            await run.ask("/api/streams/cam/resume", "POST")
            await run.live()
    assert states(run.logged()) == ["connecting", "offline", "connecting", "live", "ended"]
    assert states(run.logged("file")) == ["connecting", "live", "ended"]


async def test_a_source_that_hangs_for_good_holds_up_nobody(tmp_path: Path) -> None:
    """A pipe that nobody writes to cannot even be opened: its threads do not come back, but are few."""
    for name in ("one", "two"):
        os.mkfifo(tmp_path / name)
    quick = QUICK | {"open_timeout": 0.1, "stall": 0.1}
    async with program(
        tmp_path,
        file={"url": str(tmp_path / "one")},
        device={"url": str(tmp_path / "two"), "format": "h264", **quick},
        good={"url": "testsrc=size=320x240:rate=25,realtime", "format": "lavfi"},
    ) as run:
        await run.live("good")
        assert (await run.ask("/api/streams/file/pause", "POST"))["source"]["abandoned"] == 1
        await run.fails("paused")
        await run.ask("/api/streams/file/resume", "POST")
        entry = await run.until("device", lambda entry: entry["source"]["hanging"] == 5)
        shown = (await run.ask("/api/streams/good"))["processed"] + 40
        await run.until("good", lambda entry: entry["processed"] > shown)
        assert (await run.ask("/api/streams/device"))["source"] == entry["source"]
        os.close(os.open(tmp_path / "two", os.O_WRONLY | os.O_NONBLOCK))  # the driver comes to itself
        entry = await run.until("device", lambda entry: entry["source"]["tries"] > 5)
        assert entry["state"] == "offline"
    assert states(run.logged("device")) == ["connecting", "offline", "ended"]


async def test_a_looped_file_at_its_own_speed_goes_on_counting(clips: Clips, tmp_path: Path) -> None:
    short = draw(tmp_path / "short.mp4", frames=20)
    async with program(tmp_path, cam={"url": str(short), "realtime": True, "loop": True}) as run:
        await run.live()
        await until(lambda: run.config.parent.joinpath("logs/cam.jsonl").exists() and len(frames(run.logged())) > 50)
    log = frames(run.logged())
    assert [r["frame"] for r in log] == [r["seq"] % 20 for r in log]
    assert {r["time"]["clock"] for r in log} == {"file"}
    times = [r["time"]["captured"] for r in log]
    assert times == sorted(set(times))
