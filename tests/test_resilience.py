"""Cameras that die, freeze, lose packets and change: the program as a process comes back each time, and shows no old
picture as a new one.
"""

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from websockets.asyncio.client import connect

from tests.servers.clips import draw
from tests.servers.rtsp import RtspServer
from tests.servers.session import Access
from tests.test_run import Record, frames
from tests.watched import (
    BACK_OFF,
    FIRST,
    LATER,
    QUICK,
    STALL,
    Program,
    Seen,
    camera,
    cameras,
    configure,
    program,
    shows,
    until,
)

IN_TIME = BACK_OFF + 2.0  # seconds from when a camera is well again until its stream is live
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


async def sends(server: RtspServer, count: int) -> None:
    """Waits until the camera has sent so many more pictures."""
    goal = server.stats.frames + count
    await server.until(lambda stats: stats.frames >= goal)


async def shows_later(seen: list[Seen]) -> float:
    """Waits for a picture of another clip than `plain`; seconds that it took."""
    return await until(lambda: seen[-1].number >= LATER)


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


async def test_packets_that_are_lost(clips: Clips, tmp_path: Path) -> None:
    """No picture that the decoder made up for a lost one is shown: its number would be an old one, or none."""
    transports = {"udp": {"transport": "udp"}, "tcp": {"transport": "tcp"}}
    async with cameras(tmp_path, clips["plain"], transports) as (server, run, seen):
        server.fault(loss=0.05)
        await sends(server, 75 * len(seen))
        server.fault(loss=0.0)
        for pictures in seen.values():
            assert await shows(pictures, 10) < IN_TIME
        assert server.stats.lost > 2
    for name in transports:
        assert "corrupt" in {r.get("reason") for r in run.logged(name)}


async def test_packets_that_are_spoilt(clips: Clips, tmp_path: Path) -> None:
    async with camera(tmp_path, clips["plain"]) as (server, _run, seen):
        server.fault(corrupt=0.05)
        await sends(server, 75)
        server.fault(corrupt=0.0)
        assert await shows(seen, 10) < IN_TIME
        assert server.stats.corrupted > 1
        await sends(server, 30)
        seen.clear()  # a spoilt byte may pass for a good one, up to the next key picture
        await shows(seen)


@pytest.mark.parametrize("kicked", [False, True], ids=["goes on", "hangs up"])
async def test_cameras_that_are_set_to_another_size_or_codec(clips: Clips, tmp_path: Path, kicked: bool) -> None:
    # A camera that goes on with another codec in the same session is only noticed by its pictures' absence.
    late = {"wide": 0.0, "h265": 0.0 if kicked else STALL}
    async with cameras(tmp_path, clips["plain"], {"wide": {}, "h265": {}}) as (server, run, seen):
        for kind in seen:
            server.switch(kind, clips[kind])
        if kicked:
            await server.kick()
        for kind, pictures in seen.items():
            assert await shows_later(pictures) < IN_TIME + late[kind]
            await shows(pictures)
        assert (await run.ask("/api/streams/wide"))["image"] == {"width": 640, "height": 360}
    for kind, width in (("wide", 640), ("h265", 320)):
        sizes = [r["image"]["width"] for r in frames(run.logged(kind))]
        assert sizes[0] == 320
        assert sizes[-1] == width


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
        # The client reads little of what comes, and so would not see for long that it is closed.
        async with program(tmp_path, **streams) as run, connect(run.running.websocket, close_timeout=0.1) as client:
            async with asyncio.timeout(20):
                for _ in range(3):
                    await run.running.until(r"error: .*\[unreachable\]|\[unauthorized\]")
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
    codes = [r["error"]["code"] for r in run.logged() if "error" in r]
    assert codes == ["unauthorized", "ended", "unauthorized"]
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
        await run.until("cam", lambda entry: entry["processed"] > 30)
    log = frames(run.logged())
    assert [r["frame"] for r in log] == [r["seq"] % 20 for r in log]
    assert {r["time"]["clock"] for r in log} == {"file"}
    times = [r["time"]["captured"] for r in log]
    assert times == sorted(set(times))
