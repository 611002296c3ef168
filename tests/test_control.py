"""Streams are changed while the program runs, over HTTP and by SIGHUP, with real cameras; no other is touched."""

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from websockets.asyncio.client import ClientConnection, connect

from streamer.app import App
from streamer.config import ServerSettings, Settings, StreamSettings
from tests.servers.rtsp import RtspServer
from tests.servers.session import Access
from tests.test_run import VALIDATOR, Record, Running, frames, records, running

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="signals as on Linux and macOS")


class Heard:
    """What a websocket client has heard, and a way to wait for more."""

    def __init__(self, client: ClientConnection) -> None:
        self.records: list[Record] = []
        self._client = client

    async def until(self, wanted: Callable[[Record], bool]) -> Record:
        """The next record that is wanted."""
        async with asyncio.timeout(30):
            while True:
                record: Record = json.loads(await self._client.recv())
                VALIDATOR.validate(record)
                self.records.append(record)
                if wanted(record):
                    return record

    async def state(self, stream: str, state: str) -> Record:
        return await self.until(lambda r: r.get("stream") == stream and r.get("state") == state)

    async def frame(self, stream: str, after: int = -1) -> Record:
        """The next that was analysed, of those numbered above `after`."""
        return await self.until(
            lambda r: r["type"] == "frame" and r["stream"] == stream and r["seq"] > after and bool(r["faces"])
        )


@contextlib.asynccontextmanager
async def listening(run: Running) -> AsyncIterator[tuple[Heard, aiohttp.ClientSession]]:
    async with connect(run.websocket) as client, aiohttp.ClientSession(run.page) as http:
        yield Heard(client), http


async def ask(http: aiohttp.ClientSession, method: str, path: str, **options: Any) -> Any:
    async with http.request(method, f"/api/streams{path}", **options) as response:
        assert response.status < 300, await response.text()
        return await response.json() if response.status != 204 else None


def whole(log: Path) -> list[Record]:
    """The records of a log that was kept to its end, in which no frame is missing."""
    kept = records(log)
    for record in kept:
        VALIDATOR.validate(record)
    assert [r["seq"] for r in frames(kept)] == list(range(len(frames(kept))))
    assert kept[-1]["state"] == "ended"
    return kept


def states(of: list[Record]) -> list[str]:
    return [r["state"] for r in of if r["type"] == "status"]


async def test_streams_come_change_pause_and_go_over_http(face_clip: Path, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    async with RtspServer({"door": face_clip, "desk": face_clip, "hall": face_clip}) as server:
        config.write_text(f"[log]\npath = 'logs'\n[streams.door]\nurl = '{server.url('door')}'\n")
        async with running("run", config) as run, listening(run) as (heard, http):
            before = await heard.frame("door")
            added = await ask(http, "PUT", "/desk", json={"url": server.url("desk")})
            assert (added["state"], added["settings"]["url"]) == ("connecting", server.url("desk"))
            first = await heard.frame("desk")
            assert first["session"] == before["session"]

            await ask(http, "PUT", "/desk", json={"url": server.url("hall"), "fps": 5})
            await heard.state("desk", "connecting")
            second = await heard.frame("desk", after=first["seq"])
            assert second["faces"][0]["trackId"] > first["faces"][0]["trackId"]
            assert (await heard.until(lambda r: r.get("reason") == "fps"))["stream"] == "desk"
            assert (server.stats.open, server.stats.live) == (2, 2)

            assert (await ask(http, "POST", "/desk/pause"))["paused"]
            assert (await heard.state("desk", "offline"))["error"]["code"] == "paused"
            await run.until("^desk: paused$")
            await server.until(lambda stats: stats.open == 1)  # the camera is left alone
            assert not (await ask(http, "POST", "/desk/resume"))["paused"]
            await heard.frame("desk", after=second["seq"])
            told = (await ask(http, "GET", ""))["streams"]
            assert told["desk"]["skipped"]["fps"] > 0
            assert told["desk"]["image"] == {"width": 1280, "height": 720}
            assert told["desk"]["frame"]["stream"] == "desk"
            assert told["desk"]["source"]["opened"] == 3

            await ask(http, "DELETE", "/desk")
            await heard.state("desk", "ended")
            await server.until(lambda stats: stats.open == 1)
            assert list((await ask(http, "GET", ""))["streams"]) == ["door"]
            await heard.frame("door")
            assert (await run.stop())[0] == 0
    assert states(whole(tmp_path / "logs" / "door")) == ["connecting", "live", "ended"]
    opened = ["connecting", "live"]
    assert states(whole(tmp_path / "logs" / "desk")) == [*opened * 2, "offline", *opened, "ended"]
    assert heard.records[0]["streams"] == ["door"]


async def test_a_camera_with_a_password_is_added_and_it_is_told_to_nobody(face_clip: Path, tmp_path: Path) -> None:
    log = tmp_path / "logs"
    async with RtspServer({"cam": face_clip, "hall": face_clip}, access=Access("digest", "me", "s3/s@me")) as server:
        said = []
        async with running("run", "-s", "demo", "--log", log, "--verbose") as run, listening(run) as (heard, http):
            wrong = {"url": server.url("cam"), "user": "me", "password": "s3/s@me-not", "retry_min": 0.1}
            said.append(await ask(http, "PUT", "/cam", json=wrong))
            await heard.until(lambda r: r.get("error", {}).get("code") == "unauthorized")
            said.append(await ask(http, "GET", ""))
            said.append(await ask(http, "PUT", "/cam", json=wrong | {"password": "s3/s@me"}))
            await heard.frame("cam")
            said.append(await ask(http, "PUT", "/cam", json={"url": server.url("hall")}))  # the same machine
            await heard.state("cam", "connecting")
            await heard.frame("cam")
            said.append(await ask(http, "GET", "/cam"))
            async with http.put("/api/streams/cam", json={"url": "x", "password": "s3/s@me"}) as refused:
                said.append(await refused.text())
            await run.stop()
            assert run.process.stdout is not None
            said.append((await run.process.stdout.read()).decode())
    said += [path.read_text() for path in log.rglob("*.jsonl")]
    assert "s3/s" not in json.dumps([said, heard.records])
    assert "s3%2F" not in json.dumps([said, heard.records])


async def test_an_edited_configuration_is_taken_over_on_a_hangup(face_clip: Path, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    async with RtspServer(dict.fromkeys("abcd", face_clip)) as server:

        def edit(streams: dict[str, str], more: str = "") -> None:
            tables = (f"[streams.{name}]\nurl = '{server.url(mount)}'\n" for name, mount in streams.items())
            config.write_text(f"[log]\npath = 'logs'\n{more}{''.join(tables)}")

        edit({"stays": "a", "changes": "b", "goes": "c"})
        async with running("run", config) as run, listening(run) as (heard, http):
            for name in ("stays", "changes", "goes"):
                await heard.frame(name)
            edit({"stays": "a", "changes": "d", "comes": "c"})
            run.process.send_signal(signal.SIGHUP)
            await heard.state("goes", "ended")
            await heard.frame("comes")
            told = (await ask(http, "GET", ""))["streams"]
            assert list(told) == ["stays", "changes", "comes"]
            assert told["changes"]["settings"]["url"] == server.url("d")

            config.write_text("[streams.stays]\nurl = 5\n")
            run.process.send_signal(signal.SIGHUP)
            assert "url: expected" in await run.until("error: ")
            edit({"stays": "a"}, "[server]\nhost = '0.0.0.0'\n")
            run.process.send_signal(signal.SIGHUP)
            assert "new start" in await run.until("only changes of streams")
            await heard.state("comes", "ended")
            await heard.frame("stays")
            assert (await run.stop(signal.SIGTERM))[0] == 0
    assert states(whole(tmp_path / "logs" / "stays")) == ["connecting", "live", "ended"]
    assert states(whole(tmp_path / "logs" / "changes")) == [*["connecting", "live"] * 2, "ended"]
    assert states(whole(tmp_path / "logs" / "goes")) == ["connecting", "live", "ended"]


async def test_hangups_in_quick_succession_leave_what_the_last_one_read(face_clip: Path, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    async with RtspServer(dict.fromkeys("abcd", face_clip)) as server:
        tables = {name: f"[streams.{name}]\nurl = '{server.url(name)}'\n" for name in "abcd"}
        config.write_text(tables["a"])
        async with running("run", config) as run, listening(run) as (heard, http):
            await heard.frame("a")
            for names in ("ab", "cd", "abcd", "b", "ad"):
                config.write_text("".join(tables[name] for name in names))
                run.process.send_signal(signal.SIGHUP)
                await run.until("a: |b: |c: |d: ")
            await heard.frame("d")
            told: dict[str, Any] = {}
            async with asyncio.timeout(20):
                while set(told) != {"a", "d"} or any(entry["state"] != "live" for entry in told.values()):
                    told = (await ask(http, "GET", ""))["streams"]
            await server.until(lambda stats: stats.open == 2)
            assert (await run.stop())[0] == 0


async def test_a_hangup_without_a_configuration_ends_the_run_in_order(tmp_path: Path) -> None:
    log = tmp_path / "demo.jsonl"
    async with running("demo", "--log", log) as run, listening(run) as (heard, _http):
        await heard.frame("demo")
        code, seconds = await run.stop(signal.SIGHUP)
    assert code == 0
    assert seconds < 8
    whole(log)


async def test_under_nohup_a_hangup_ends_nothing() -> None:
    nohup = ("sh", "-c", 'trap "" HUP; exec "$@"', "nohup")
    async with running("demo", under=nohup) as run, listening(run) as (heard, _http):
        seen = await heard.frame("demo")
        run.process.send_signal(signal.SIGHUP)
        await heard.frame("demo", after=seen["seq"] + 30)
        assert (await run.stop())[0] == 0


async def test_settings_that_are_read_anew_before_the_run_begins_are_its_own(
    settings: Settings, face_clip: Path
) -> None:
    still = msgspec.structs.replace(settings, server=ServerSettings(enabled=False))
    app = App(msgspec.structs.replace(still, streams={"old": StreamSettings("gone.mp4")}))
    await app.reload(msgspec.structs.replace(still, streams={"new": StreamSettings(str(face_clip))}))
    assert await app.run()
    assert list(app.reports) == ["new"]
