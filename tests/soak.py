"""Does the program's memory stay flat while everything around it fails? Run by hand, for half an hour or more:

    python -m tests.soak --minutes 30 --streams 6

One `streamer run` on cameras that die, freeze, lose packets, refuse and change size, that are paused, resumed and
changed over HTTP, with websocket clients and viewers that come and go, and pictures to analyse in between. Its resident
memory, threads and open files are sampled from /proc; the exit code is 1 if memory grows by 1 MB in 10 minutes or more,
if threads or files grow, or if a stream does not come back.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import numpy as np
from websockets.asyncio.client import connect

from streamer.bench.scene import film
from streamer.config import Settings
from streamer.inference.models import Workshop
from streamer.media.pictures import read_picture
from tests.servers.clips import draw
from tests.servers.rtsp import RtspServer
from tests.test_run import Running, frames, records, running

EVERY = 10.0  # seconds between two samples
WARM_UP = 0.2  # share of the time in which memory may grow: models are loaded, shapes are met for the first time
MOST_GROWTH = 1.0  # MB in 10 minutes
SPARE = 3  # threads or files that may be more at the end: whatever happens at that moment


class Sample(NamedTuple):
    """The program at a moment: resident memory in MB."""

    at: float
    memory: float
    threads: int
    files: int


def sample(pid: int, start: float) -> Sample:
    process = Path(f"/proc/{pid}")
    resident = next(line for line in (process / "status").read_text().splitlines() if line.startswith("VmRSS:"))
    threads, files = (len(list((process / kind).iterdir())) for kind in ("task", "fd"))
    return Sample(time.monotonic() - start, int(resident.split()[1]) / 1024, threads, files)


class Trouble:
    """What happens to the cameras and to the program, at random; `count` says how often."""

    def __init__(
        self, run: Running, cameras: dict[str, RtspServer], clips: list[Path], picture: bytes, chance: random.Random
    ) -> None:
        self.count: Counter[str] = Counter()
        self._run = run
        self._cameras = cameras
        self._clips = clips
        self._picture = picture
        self._chance = chance

    async def of_camera(self, name: str) -> None:
        """One thing after another, without end."""
        things: list[Callable[[str], Awaitable[None]]]
        things = [self._fault, self._fault, self._fault, self._switch, self._pause, self._change]
        while True:
            await self._wait(1, 8)
            await self._chance.choice(things)(name)

    async def of_server(self, server: RtspServer) -> None:
        while True:
            await self._wait(5, 25)
            await server.kill()
            await self._wait(0, 4)
            await server.restart()
            self.count["killed"] += 1

    async def of_listener(self) -> None:
        """A websocket client that reads for a while, or not at all, and leaves."""
        while True:
            await self._wait(0, 10)
            async with connect(self._run.websocket, max_queue=1) as client:
                for _ in range(self._chance.choice([0, 50, 300])):
                    await client.recv()
                await self._wait(0, 5)
            self.count["listened"] += 1

    async def of_viewer(self, name: str) -> None:
        while True:
            await self._wait(2, 20)
            async with (
                aiohttp.ClientSession() as session,
                session.ws_connect(f"{self._run.page}api/preview") as socket,
            ):
                for _ in range(self._chance.choice([1, 20])):
                    await socket.send_str(json.dumps({"want": {name: 320}}))
                    await socket.receive(timeout=60)
            self.count["viewed"] += 1

    async def of_sender(self) -> None:
        """Pictures for the Face API, and some that are none."""
        while True:
            for data in (self._picture, self._picture, b"no picture"):
                async with (
                    aiohttp.ClientSession() as session,
                    session.post(
                        f"{self._run.page}analyze", data=data, headers={"Content-Type": "image/png"}
                    ) as answer,
                ):
                    await answer.read()
                    self.count[f"analyze {answer.status}"] += 1
                await self._wait(5, 25)

    async def _fault(self, name: str) -> None:
        changes: dict[str, Any] = self._chance.choice(
            [{"stalled": True}, {"loss": 0.05}, {"corrupt": 0.05}, {"refuse": 401}, {"black_hole": True}]
        )
        server, (kind,) = self._cameras[name], changes
        server.fault(name, **changes)
        if kind in ("refuse", "black_hole"):  # only met by those who come
            await server.kick()
        await self._wait(1, 8)
        server.fault(name, stalled=False, loss=0.0, corrupt=0.0, refuse=None, black_hole=False)
        self.count[kind] += 1

    async def _switch(self, name: str) -> None:
        self._cameras[name].switch(name, self._chance.choice(self._clips))
        self.count["switched"] += 1

    async def _pause(self, name: str) -> None:
        await self._ask("POST", f"{name}/pause")
        await self._wait(0, 4)
        await self._ask("POST", f"{name}/resume")
        self.count["paused"] += 1

    async def _change(self, name: str) -> None:
        transport = self._chance.choice(["tcp", "udp"])
        await self._ask("PUT", name, settings(self._cameras[name].url(name), transport, self._chance.choice([4, 5])))
        self.count["changed"] += 1

    async def _ask(self, method: str, path: str, body: Any = None) -> None:
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, f"{self._run.page}api/streams/{path}", json=body) as answer,
        ):
            answer.raise_for_status()

    async def _wait(self, least: float, most: float) -> None:
        await asyncio.sleep(self._chance.uniform(least, most))


def settings(url: str, transport: str, fps: int) -> dict[str, Any]:
    """Few pictures a second are analysed: it is time that is to pass, not work that is to be done."""
    quick = {"retry_min": 0.2, "retry_max": 2.0, "stall": 2.0, "open_timeout": 2.0}
    return {"url": url, "transport": transport, "fps": fps, **quick}


def configure(path: Path, cameras: dict[str, RtspServer]) -> None:
    lines = ["[log]", "path = 'logs'"]
    for name, server in cameras.items():
        lines.append(f"[streams.{name}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in settings(server.url(name), "tcp", 4).items()]
    path.write_text("\n".join(lines))


async def soak(folder: Path, count: int, minutes: float, seed: int) -> bool:
    """The whole run, printing as it goes. True if all is well."""
    with_models = Workshop(Settings())
    portrait = with_models.picture("portrait")
    with_models.close()
    clips = [
        film(read_picture(portrait), folder / "face.mp4", 0.5),
        draw(folder / "small.mp4", frames=150),
        draw(folder / "h265.mp4", frames=50, codec="libx265"),
    ]
    names = [f"cam{n}" for n in range(count)]
    async with AsyncExitStack() as stack:
        mounts = [dict.fromkeys(names[half::2], clips[0]) for half in (0, 1)]
        servers = [await stack.enter_async_context(RtspServer(one, seed=seed)) for one in mounts if one]
        cameras = {name: server for server in servers for name in server.site.mounts}
        configure(folder / "run.toml", cameras)
        run = await stack.enter_async_context(running("run", folder / "run.toml"))
        trouble = Trouble(run, cameras, clips, portrait.read_bytes(), random.Random(seed))
        samples = await watch(run, trouble, cameras, minutes * 60)
        back = await all_back(run, cameras)
        await run.stop()
    print("what happened:", ", ".join(f"{what}: {times}" for what, times in sorted(trouble.count.items())))
    if not back:
        print("NOT ALL STREAMS CAME BACK")
    return judge(samples) & back & complete(folder / "logs", names)


async def watch(run: Running, trouble: Trouble, cameras: dict[str, RtspServer], seconds: float) -> list[Sample]:
    """Samples of the program while it is in trouble."""
    start, samples = time.monotonic(), list[Sample]()
    listening = [trouble.of_listener(), trouble.of_listener(), trouble.of_viewer(next(iter(cameras)))]
    troubles = [
        *listening,
        trouble.of_sender(),
        *map(trouble.of_camera, cameras),
        *map(trouble.of_server, set(cameras.values())),
        run.until(r"(?!)"),  # somebody has to read what it says
    ]
    tasks = [asyncio.ensure_future(one) for one in troubles]
    print("minute  memory MB  threads  files")
    while time.monotonic() - start < seconds:
        done, _ = await asyncio.wait(tasks, timeout=EVERY, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
        samples.append(sample(run.process.pid, start))
        if len(samples) % round(60 / EVERY) == 0:
            at, memory, threads, files = samples[-1]
            print(f"{at / 60:6.1f}  {memory:9.1f}  {threads:7}  {files:5}", flush=True)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return samples


async def all_back(run: Running, cameras: dict[str, RtspServer]) -> bool:
    """Whether every stream is live once nothing is wrong any more."""
    for name, server in cameras.items():
        await server.restart()
        server.fault(stalled=False, loss=0.0, corrupt=0.0, refuse=None, black_hole=False)
        async with aiohttp.ClientSession() as session:
            await session.post(f"{run.page}api/streams/{name}/resume")
    end = time.monotonic() + 15
    while time.monotonic() < end:
        async with aiohttp.ClientSession() as session, session.get(f"{run.page}api/streams") as answer:
            streams = (await answer.json())["streams"]
        if all(stream["state"] == "live" for stream in streams.values()):
            return True
        await asyncio.sleep(0.5)
    return False


def complete(logs: Path, names: list[str]) -> bool:
    """Whether no frame and no change of state is missing or told twice."""
    fine = True
    for name in names:
        log = records(logs / name)
        seqs = [r["seq"] for r in frames(log)]
        told = [(r["state"], r.get("error", {}).get("code")) for r in log if r["type"] == "status"]
        twice = sum(before == after for before, after in pairwise(told))
        whole = seqs == list(range(len(seqs)))
        ages = [r["time"]["ageMs"] for r in frames(log) if r["status"] == "processed"]
        p50, p99 = np.percentile(ages, (50, 99))
        print(
            f"{name}: {len(seqs)} frames{'' if whole else ' WITH HOLES'}, {len(ages)} analysed,"
            f" {len(told)} changes of state, {twice} repeated; ageMs p50 {p50:.0f}, p99 {p99:.0f}"
        )
        fine &= whole and not twice
    return fine


def judge(samples: list[Sample]) -> bool:
    """Whether nothing grew, once warm."""
    warm = np.array(samples[round(WARM_UP * len(samples)) :])
    slope = float(np.polyfit(warm[:, 0], warm[:, 1], 1)[0]) * 600
    third = len(warm) // 3
    # The least of them is what is always there; what happens at a moment comes on top.
    threads, files = warm[-third:, 2:].min(axis=0) - warm[:third, 2:].min(axis=0)
    print(f"memory {warm[0, 1]:.0f} -> {warm[-1, 1]:.0f} MB, slope {slope:+.2f} MB in 10 minutes;")
    print(f"threads {threads:+.0f}, open files {files:+.0f}")
    return slope < MOST_GROWTH and max(threads, files) <= SPARE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--streams", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fine = asyncio.run(soak(Path(folder), given.streams, given.minutes, given.seed))
    print("fine" if fine else "NOT FINE")
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
