"""A log that is replayed is what was recorded: the same records, in their time, for any client and for the page."""

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from playwright.async_api import Page
from websockets.asyncio.client import connect

from streamer.errors import LogError
from streamer.log.layout import find
from streamer.log.lines import raw_lines
from streamer.log.player import Player
from streamer.log.select import Logged, Selection
from tests.browser import complaints, page
from tests.conftest import Streamer
from tests.test_run import Record, Running, frames, running, take

__all__ = ["complaints", "page"]  # fixtures


@pytest.fixture(scope="module")
def log(streamer: Streamer, face_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of two streams, as a real run leaves it."""
    folder = tmp_path_factory.mktemp("replay")
    config = folder / "run.toml"
    streams = (f"[streams.{name}]\nurl = '{face_clip}'" for name in ("door", "yard"))
    config.write_text("\n".join(["[log]", "path = 'logs'", *streams]))
    assert streamer("run", config, "--no-server").returncode == 0
    return folder / "logs"


def recorded(log: Path, stream: str) -> list[Record]:
    every = [json.loads(line) for segment in find(log)[stream] for line in raw_lines(segment)]
    return [record for record in every if record["type"] in ("frame", "status", "track")]


async def told(run: Running, **wish: Any) -> Any:
    """What the server says of its replay, after a wish if there is one."""
    async with aiohttp.ClientSession() as session:
        address, method = f"{run.page}api/replay", "POST" if wish else "GET"
        async with session.request(method, address, json=wish or None) as response:
            assert response.status == 200, await response.text()
            return await response.json()


async def test_a_client_of_the_replay_receives_the_records_that_were_logged(log: Path) -> None:
    async with running("log", "replay", log, "--paused") as run, connect(run.websocket) as client:
        hello = (await take(client, 1))[0]
        assert sorted(hello["streams"]) == ["door", "yard"]
        await told(run, playing=True, speed=2)
        expected = {stream: recorded(log, stream) for stream in ("door", "yard")}
        received = await take(client, sum(map(len, expected.values())))
        for stream, records in expected.items():
            assert [record for record in received if record["stream"] == stream] == records
        while (at := await told(run))["playing"]:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)
        assert at["position"] == at["end"]
        code, _ = await run.stop()
    assert code == 0


async def test_seeking_begins_a_session_at_that_moment(log: Path) -> None:
    async with running("log", "replay", log, "--paused", "--stream", "door") as run, connect(run.websocket) as client:
        first = (await take(client, 1))[0]
        every = frames(recorded(log, "door"))
        for n in (40, 10):  # forth and back
            position = every[n]["time"]["captured"]
            assert (await told(run, position=position))["position"] == position
            await told(run, playing=True)
            taken = await take(client, 3)
            while taken[0]["type"] != "hello":
                taken = [*taken[1:], *await take(client, 1)]
            assert taken[0]["session"] != first["session"]
            assert next(r for r in [*taken, *await take(client, 3)] if r["type"] == "frame") == every[n]
            first = taken[0]
            await told(run, playing=False)


async def test_what_is_no_wish_is_refused(log: Path) -> None:
    async with running("log", "replay", log, "--paused") as run, aiohttp.ClientSession() as session:
        wishes: list[Any] = [{"speed": -1}, {"position": "noon"}, {"faster": True}, []]
        for wish in wishes:
            async with session.post(f"{run.page}api/replay", json=wish) as response:
                assert response.status == 400
                assert (await response.json())["error"]["hint"]


async def test_a_log_without_such_records_is_said(log: Path) -> None:
    with pytest.raises(LogError, match="no such records"):
        Player(log, Selection(types=("gap",)), playing=True, loop=False)


async def test_a_loop_begins_again(log: Path) -> None:
    player = Player(log, Selection(streams=("door",)), 0, playing=True, loop=True)
    seen: list[Logged] = []
    begun = asyncio.Event()
    times = 0

    def begin_again() -> None:
        nonlocal times
        times += 1
        if times == 3:
            begun.set()

    async def publish(record: Logged) -> None:
        seen.append(record)

    running = asyncio.create_task(player.run(publish, begin_again))
    async with asyncio.timeout(20):
        await begun.wait()
    running.cancel()
    assert [record.line for record in seen] == 2 * lines(log)


def lines(log: Path) -> list[bytes]:
    every = (line[:-1] for segment in find(log)["door"] for line in raw_lines(segment))
    return [line for line in every if not line.startswith((b'{"type":"segment"', b'{"type":"footer"'))]


@pytest.fixture
async def replaying(log: Path) -> AsyncGenerator[Running, None]:
    async with running("log", "replay", log, "--loop", "--stream", "door") as run:
        yield run


async def test_the_page_shows_the_replay_and_has_its_buttons(page: Page, replaying: Running) -> None:
    await page.goto(replaying.page)
    await page.get_by_text("woman").first.wait_for()
    bar = page.get_by_role("group", name="Replay of a log")
    await bar.get_by_role("button", name="Pause").click()
    await bar.get_by_role("button", name="Play").wait_for()
    assert not (await told(replaying))["playing"]
    await bar.get_by_label("Speed").select_option("4")
    await bar.get_by_role("button", name="Play").click()
    await bar.get_by_role("button", name="Pause").wait_for()
    at = await told(replaying)
    assert (at["playing"], at["speed"]) == (True, 4)
