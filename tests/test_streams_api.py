"""`/api/streams` over real HTTP: who may change streams, what is refused, and that nothing secret is told.

Plain generators stand in for the cameras; with real ones: test_control.py.
"""

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import aiohttp
import msgspec
import pytest
import yarl

from streamer.config import ServerSettings, Settings, StreamSettings, address
from streamer.inference.models import Workshop
from streamer.outputs.fanout import Fanout
from streamer.web.server import FaceServer, http_server
from tests.conftest import unavailable
from tests.test_fleet import Run, running

DOOR = StreamSettings("rtsp://cam.local:554/door?token=s3same", user="me", password="s3same", fps=5)
DESK = StreamSettings("rtsp://you:s3same@cam.local/desk")
CHANGES = [
    ("PUT", "/api/streams/new"),
    ("PUT", "/api/streams/door"),
    ("DELETE", "/api/streams/door"),
    ("POST", "/api/streams/door/pause"),
    ("POST", "/api/streams/off/resume"),
]
BODY = '{"url": "rtsp://cam.local/new"}'


@contextlib.asynccontextmanager
async def serving(workshop: Workshop, run: Run, **settings: Any) -> AsyncGenerator[str, None]:
    server = ServerSettings(http_port=0, **settings)
    faces = FaceServer(Settings(server=server), run.hub, run.fleet, Fanout(run.hub), workshop, {"session": "s1"})
    async with http_server(faces, server) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
async def run() -> AsyncIterator[Run]:
    async with running(door=DOOR, desk=DESK, off=DOOR) as run:
        await run.fleet.pause("off")
        yield run


@pytest.fixture
async def client(workshop: Workshop, run: Run) -> AsyncIterator[aiohttp.ClientSession]:
    async with serving(workshop, run) as server, aiohttp.ClientSession(server) as session:
        yield session


async def answer(client: aiohttp.ClientSession, method: str, path: str | yarl.URL, **options: Any) -> tuple[int, str]:
    async with client.request(method, path, **options) as response:
        text = await response.text()
        assert "s3same" not in text
        if response.status >= 400:
            assert msgspec.json.decode(text)["error"]["message"]
        return response.status, text


def state(run: Run) -> object:
    """All that a change could change."""
    return [(r.name, r.settings, r.state) for r in run.fleet.reports.values()], list(run.cameras.opened)


async def test_what_is_told_of_streams(client: aiohttp.ClientSession, run: Run) -> None:
    await run.seen("door", 3)
    _, text = await answer(client, "GET", "/api/streams")
    streams = msgspec.json.decode(text)["streams"]
    assert list(streams) == ["door", "desk", "off"]
    door = streams["door"]
    assert door["settings"]["url"] == "rtsp://cam.local:554/door?token=***"
    assert streams["desk"]["settings"]["url"] == "rtsp://***@cam.local/desk"
    assert door["settings"]["fps"] == 5
    assert not {"user", "password"} & set(door["settings"])
    assert (door["state"], door["paused"], door["processed"], door["skipped"]) == ("live", False, 3, {})
    assert door["frame"]["seq"] == 2
    assert door["status"]["state"] == "live"
    assert set(door["source"]) == {"tries", "opened", "abandoned", "hanging", "decoder"}
    assert (streams["off"]["state"], streams["off"]["paused"]) == ("offline", True)
    assert streams["off"]["error"]["code"] == "paused"
    assert msgspec.json.decode((await answer(client, "GET", "/api/streams/door"))[1])["name"] == "door"


async def test_streams_are_added_changed_paused_resumed_and_removed(client: aiohttp.ClientSession, run: Run) -> None:
    assert (await answer(client, "PUT", "/api/streams/new%20one", data=BODY))[0] == 201
    await run.live("new one")
    assert (await answer(client, "PUT", "/api/streams/new%20one", json={"url": "demo", "fps": 2}))[0] == 200
    assert run.fleet.report("new one").settings == StreamSettings("demo", fps=2)
    assert '"paused":true' in (await answer(client, "POST", "/api/streams/new%20one/pause"))[1]
    assert '"paused":false' in (await answer(client, "POST", "/api/streams/new%20one/resume"))[1]
    assert await answer(client, "DELETE", "/api/streams/new%20one") == (204, "")
    assert "new one" not in run.fleet.reports
    assert run.kept.states("door") == ["connecting", "live"]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"data": b""}, "not JSON"),
    ({"data": b"{"}, "not JSON"),
    ({"data": b"url=rtsp://x"}, "not JSON"),
    ({"data": b'"\xff"'}, "not JSON"),
    ({"data": b"[" * 100_000}, "not JSON"),
    ({"data": b"x", "headers": {"Content-Encoding": "gzip"}}, "body"),
    ({"json": []}, r"\$: expected"),
    ({"json": {}}, "url"),
    ({"json": {"url": 5}}, r"\$.url: expected"),
    ({"json": {"url": "demo", "fsp": 5}}, r"\$: unknown key 'fsp'"),
    ({"json": {"url": "demo", "fps": -1}}, r"\$.fps: expected"),
    ({"json": {"url": "demo", "rotate": 45}}, r"\$.rotate: "),
    ({"json": {"url": "demo", "masks": [[[0, 0], [1, 1]]]}}, r"\$.masks\[0\]: expected"),
    ({"json": {"url": "demo", "retry_min": 60}}, "retry_max is less"),
    ({"json": {"url": "gopher://me:s3same@x/"}}, "cannot open addresses that begin with gopher"),
    ({"json": {"url": "/etc/passwd"}}, r"\$.url: files cannot"),
    ({"json": {"url": "file:///etc/passwd"}}, r"\$.url: files cannot"),
    ({"json": {"url": "FILE:///etc/passwd"}}, r"\$.url: files cannot"),
    ({"json": {"url": "concat:a|b"}}, r"\$.url: files cannot"),
    ({"json": {"url": ""}}, r"\$.url: files cannot"),
    ({"json": {"url": "/dev/video0/../../etc/passwd"}}, r"\$.url: files cannot"),
    ({"json": {"url": "movie=/etc/passwd", "format": "lavfi"}}, r"\$.format: cannot be given"),
    ({"json": {"url": "rtsp://x/", "user": "a", "password_env": "HOME"}}, r"\$.password_env: cannot be given"),
    ({"json": {"url": "rtsp://x/", "user": "a", "password_file": "/etc/shadow"}}, r"\$.password_file: cannot be given"),
    ({"json": {"url": "rtsp://***@elsewhere/x"}}, r"\*\*\* stands for"),
    ({"json": {"url": "rtsp://cam.local:554/window?token=***"}}, r"\*\*\* stands for"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=[message for _, message in REFUSED])
@pytest.mark.parametrize("name", ["door", "new"])
async def test_settings_that_cannot_be_used_are_refused(
    client: aiohttp.ClientSession, run: Run, name: str, options: dict[str, Any], message: str
) -> None:
    before = state(run)
    status, text = await answer(client, "PUT", f"/api/streams/{name}", **options)
    assert status == 400, text
    assert re.search(message, msgspec.json.decode(text)["error"]["message"]), text
    assert state(run) == before


@pytest.mark.parametrize("name", ["..%2fx", "a%2Fb", "%0Aa", "a%0A", ".a", "%20a", "a" * 61, "%22"])
async def test_names_that_cannot_be_used_are_refused(client: aiohttp.ClientSession, run: Run, name: str) -> None:
    before = state(run)
    status, text = await answer(client, "PUT", yarl.URL(f"/api/streams/{name}", encoded=True), data=BODY)
    assert (status, '"code":"badConfig"' in text) == (400, True), text
    assert state(run) == before


@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("DELETE", ""), ("POST", "/pause"), ("POST", "/resume")], ids=str
)
async def test_an_unknown_stream_is_not_found(client: aiohttp.ClientSession, method: str, path: str) -> None:
    status, text = await answer(client, method, f"/api/streams/nobody{path}")
    assert (status, '"code":"unknownStream"' in text) == (404, True)


async def test_a_run_that_is_over_says_so(client: aiohttp.ClientSession, run: Run) -> None:
    run.task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await run.over()
    for method, path in CHANGES:
        status, text = await answer(client, method, path, data=BODY)
        assert (status, '"code":"notRunning"' in text) == (503, True)


FOREIGN = [
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1.evil.example"},
    {"Origin": "http://localhost@evil.example"},
    {"Origin": "http://[evil"},
    {"Origin": "http://wall.example"},  # may see records, but change nothing
    {"Origin": "http://evil.example:8080", "Host": "evil.example:8080"},  # its name resolves to this machine
    {"Host": "evil.example"},
    {"Host": "["},
    {"Host": ""},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
async def test_pages_elsewhere_change_nothing(workshop: Workshop, run: Run, headers: dict[str, str]) -> None:
    """What browsers send for them: with and without a preflight, as a form, as text."""
    before = state(run)
    for origins in ((), ("*",), ("http://wall.example",)):
        async with serving(workshop, run, origins=origins) as server, aiohttp.ClientSession(server) as client:
            for method, path in CHANGES:
                for kind in ("application/json", "text/plain", "application/x-www-form-urlencoded"):
                    said = headers | {"Content-Type": kind}
                    status, text = await answer(client, method, path, data=BODY, headers=said)
                    assert status in (400, 403), text
                    assert status == 403 or headers["Host"] == ""
            asked = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "content-type"}
            for path in ("/api/streams/door", "/api/streams", "/api/streams/x"):
                async with client.options(path, headers=headers | asked) as response:
                    assert response.status >= 400
                async with client.get(path, headers=headers) as response:
                    assert "Access-Control-Allow-Origin" not in response.headers  # so they cannot read it, either
    assert state(run) == before


async def test_pages_and_programs_of_this_machine_may(workshop: Workshop, run: Run) -> None:
    async with serving(workshop, run) as server, aiohttp.ClientSession(server) as client:
        for headers in ({}, {"Origin": server}, {"Origin": "http://localhost:3000"}, {"Host": "localhost:8080"}):
            for word in ("pause", "resume"):
                assert (await answer(client, "POST", f"/api/streams/door/{word}", headers=headers))[0] == 200


async def test_nothing_can_be_changed_where_that_is_switched_off(workshop: Workshop, run: Run) -> None:
    before = state(run)
    async with serving(workshop, run, control=False) as server, aiohttp.ClientSession(server) as client:
        for method, path in CHANGES:
            status, text = await answer(client, method, path, data=BODY)
            assert (status, "control = true" in text) == (403, True)
        assert (await answer(client, "GET", "/api/streams"))[0] == 200
    assert state(run) == before


async def test_other_machines_change_nothing(workshop: Workshop, run: Run) -> None:
    before = state(run)
    async with serving(workshop, run, host="0.0.0.0", anonymous="view") as server, aiohttp.ClientSession() as client:
        there = server.replace("127.0.0.1", own_address())
        for headers in ({}, {"Host": "127.0.0.1"}, {"X-Forwarded-For": "127.0.0.1"}):
            for method, path in CHANGES:
                assert (await answer(client, method, there + path, data=BODY, headers=headers))[0] == 403
        # Nor does this machine without a token: a proxy on it may ask for anybody.
        assert (await answer(client, "POST", f"{server}/api/streams/door/pause"))[0] == 403
        assert state(run) == before


def own_address() -> str:
    """Of this machine, as others see it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.1", 9))  # an address that is nobody's: nothing is sent
        name: str = probe.getsockname()[0]
        if not name.startswith("127."):
            return name
    unavailable("this machine has no address but the loopback")
    return ""


KEPT: list[tuple[str, dict[str, Any], str]] = [
    ("door", {"url": "rtsp://cam.local:554/window"}, "rtsp://me:s3same@cam.local:554/window"),
    ("door", {"url": "rtsp://cam.local:554/door?token=***"}, "rtsp://me:s3same@cam.local:554/door?token=s3same"),
    ("door", {"url": "RTSP://CAM.local:554/x", "password": "p/w"}, "rtsp://me:p%2Fw@CAM.local:554/x"),
    ("door", {"url": "rtsp://cam.local:554/x", "user": "other"}, "rtsp://other@cam.local:554/x"),
    ("desk", {"url": "rtsp://***@cam.local/desk"}, "rtsp://you:s3same@cam.local/desk"),
    ("desk", {"url": "rtsp://***@cam.local/2"}, "rtsp://you:s3same@cam.local/2"),
    ("desk", {"url": "rtsp://cam.local/2?x=a@b"}, "rtsp://you:s3same@cam.local/2?x=a@b"),
    ("desk", {"url": "rtsp://a:b@cam.local/2"}, "rtsp://a:b@cam.local/2"),
    ("desk", {"url": "rtsp://cam.local/2", "user": "a", "password": "b"}, "rtsp://a:b@cam.local/2"),
]
ELSEWHERE = [
    "rtsp://evil.example/",
    "rtsp://cam.local.evil.example/",
    "rtsp://cam.local:554@evil.example/",
    "rtsp://cam.local\\@evil.example/",
    "rtsp://evil.example/@cam.local:554/door",
    "rtsp://evil.example?@cam.local:554/door",
    "rtsp://evil.example#@cam.local/desk",
    "rtsp://cam.local:8554/",
    "rtsps://cam.local:554/",
    "http://cam.local/desk",
    "rtsp://[cam.local/",
    "rtsp://cam.\u2100/",
    "rtsp://cam.\tlocal/",
]


@pytest.mark.parametrize(("name", "change", "opened"), KEPT, ids=[str(c) for _, c, _ in KEPT])
async def test_a_change_keeps_the_secrets_that_it_does_not_name(
    client: aiohttp.ClientSession, run: Run, name: str, change: dict[str, Any], opened: str
) -> None:
    assert (await answer(client, "PUT", f"/api/streams/{name}", json=change))[0] == 200
    assert address(run.fleet.report(name).settings) == opened


@pytest.mark.parametrize("url", ELSEWHERE)
@pytest.mark.parametrize("name", ["door", "desk"])
async def test_secrets_are_never_carried_to_another_machine(
    client: aiohttp.ClientSession, run: Run, name: str, url: str
) -> None:
    assert (await answer(client, "PUT", f"/api/streams/{name}", json={"url": url}))[0] == 200
    assert address(run.fleet.report(name).settings) == url


async def test_secrets_are_gone_with_their_stream(client: aiohttp.ClientSession, run: Run) -> None:
    await answer(client, "DELETE", "/api/streams/door")
    await answer(client, "PUT", "/api/streams/door", json={"url": "rtsp://cam.local:554/door"})
    assert address(run.fleet.report("door").settings) == "rtsp://cam.local:554/door"


async def test_what_is_told_can_be_sent_back(client: aiohttp.ClientSession, run: Run) -> None:
    for name in ("door", "desk", "off"):
        before = run.fleet.report(name).settings
        told = msgspec.json.decode((await answer(client, "GET", f"/api/streams/{name}"))[1])["settings"]
        assert (await answer(client, "PUT", f"/api/streams/{name}", json=told | {"fps": 1}))[0] == 200
        assert run.fleet.report(name).settings == msgspec.structs.replace(before, fps=1)
    assert run.fleet.report("off").paused
