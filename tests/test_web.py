"""The HTTP server: the contract of the Face API, and every way to send it nonsense."""

import asyncio
import base64
import contextlib
import io
import json
import shutil
import subprocess
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamer.config import ImageSettings, PrivacySettings, ServerSettings, Settings
from streamer.contract import ImageAnswer, schema
from streamer.face import FrameResult
from streamer.fleet import Fleet, StreamReport
from streamer.flow import Hub
from streamer.inference.models import Workshop
from streamer.media.source import StateChange
from streamer.outputs.fanout import Fanout
from streamer.web.server import FaceServer, http_server
from tests.conftest import unavailable

INFO = {"version": "test", "session": "s1", "websocket": {"port": 1}, "preview": "/api/preview"}


async def no_results(_report: StreamReport) -> AsyncGenerator[FrameResult | StateChange, None]:
    raise AssertionError("no stream is started here")
    yield


@pytest.fixture
async def server(workshop: Workshop) -> AsyncIterator[str]:
    async with serving(workshop) as url:
        yield url


@contextlib.asynccontextmanager
async def serving(workshop: Workshop, images: dict[str, Any] | None = None, **server: Any) -> AsyncIterator[str]:
    """The address of a server with these settings, without streams."""
    limits = ImageSettings(**(images or {}))
    settings, hub = Settings(server=ServerSettings(http_port=0, **server), images=limits), Hub()
    faces = FaceServer(settings, hub, Fleet(hub, no_results), Fanout(hub), workshop, INFO)
    async with http_server(faces, settings.server) as port:
        yield f"http{'s' if settings.server.certificate else ''}://127.0.0.1:{port}"


@pytest.fixture
async def client(server: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(server) as session:
        yield session


def form(name: str, data: bytes | str, **fields: str) -> aiohttp.FormData:
    result = aiohttp.FormData(default_to_multipart=True)
    for key, value in fields.items():
        result.add_field(key, value)
    if isinstance(data, bytes):
        result.add_field(name, data, filename="face.jpg", content_type="image/jpeg")
    else:
        result.add_field(name, data)
    return result


def assert_portrait(answer: dict[str, Any]) -> None:
    assert answer["image"] == {"width": 512, "height": 512}
    assert set(answer["timings"]) == {"receive", "decode", "analyse"}
    (face,) = answer["faces"]
    assert face["gender"]["value"] == "Female"
    assert face["faceConfidence"] > 0.85


def assert_refused(answer: dict[str, Any], code: str | None = None) -> None:
    assert answer["faces"] == []
    assert set(answer["error"]) == {"code", "message", "hint"}
    assert answer["error"]["message"]
    if code:
        assert answer["error"]["code"] == code


@pytest.mark.parametrize("field", ["filename", "file", "image"])
async def test_the_form_of_existing_clients(client: aiohttp.ClientSession, jpeg: bytes, field: str) -> None:
    data = form(field, jpeg, access_key="a", secret_key="b")
    async with client.post("/analyze", data=data) as response:
        assert response.status == 200
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert_portrait(await response.json())


async def test_the_form_as_curl_sends_it(server: str, portrait_path: Path) -> None:
    if not shutil.which("curl"):
        unavailable("curl is not installed")
    command = ["curl", "-sS", "-w", "%{http_code}", "-F", f"filename=@{portrait_path}", f"{server}/analyze"]
    done = await to_thread(command)
    assert done.stdout.endswith("200")
    assert_portrait(json.loads(done.stdout[:-3]))


async def to_thread(command: list[str]) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True, timeout=30)


async def test_a_raw_body_and_json(client: aiohttp.ClientSession, jpeg: bytes) -> None:
    async with client.post("/analyze", data=jpeg, headers={"Content-Type": "image/jpeg"}) as response:
        raw = await response.json()
    text = base64.b64encode(jpeg).decode()
    answers = [raw]
    for image in (text, f"data:image/jpeg;base64,{text}"):
        async with client.post("/analyze", json={"image": image}) as response:
            assert response.status == 200
            answers.append(await response.json())
    for answer in answers:
        assert_portrait(answer)
        assert answer["faces"] == raw["faces"]


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        ({"data": form("filename", b"")}, 400, "empty"),
        ({"data": form("filename", b"not a picture")}, 415, "notAPicture"),
        ({"data": form("filename", "/etc/passwd")}, 400, "badRequest"),
        ({"data": form("other", b"x")}, 400, "badRequest"),
        ({"data": b"x", "headers": {"Content-Type": "text/plain"}}, 415, "unsupportedMediaType"),
        ({"data": b"{", "headers": {"Content-Type": "application/json"}}, 400, "badRequest"),
        ({"json": {"image": "///not base64///"}}, 400, "badRequest"),
        ({"json": {"image": 5}}, 400, "badRequest"),
        ({"json": ["image"]}, 400, "badRequest"),
        ({"json": {"url": "http://example.com/x.jpg"}}, 400, "badRequest"),
        ({"data": b"x", "headers": {"Content-Type": "multipart/form-data"}}, 400, "badRequest"),
        ({"json": {"image": "\u00e9"}}, 400, "badRequest"),
        ({"data": b"[" * 100_000, "headers": {"Content-Type": "application/json"}}, 400, "badRequest"),
        ({"data": b'"\xff"', "headers": {"Content-Type": "application/json"}}, 400, "badRequest"),
        ({"data": form("_charset_", "foo")}, 400, "badRequest"),
        ({"data": io.BytesIO(bytes(33 << 20)), "headers": {"Content-Type": "image/png"}}, 413, "tooLarge"),
    ],
)
async def test_what_cannot_be_taken_is_refused_in_the_same_form(
    client: aiohttp.ClientSession, arguments: dict[str, Any], status: int, code: str
) -> None:
    async with client.post("/analyze", **arguments) as response:
        answer = await response.json()
        assert response.status == status, answer
        assert_refused(answer, code)


async def test_a_picture_cut_off_is_refused(client: aiohttp.ClientSession, jpeg: bytes) -> None:
    async with client.post("/analyze", data=form("filename", jpeg[: len(jpeg) // 2])) as response:
        assert response.status == 422
        assert_refused(await response.json(), "corrupt")


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/analyze", 405), ("GET", "/nothing", 404)])
async def test_wrong_ways_and_places(client: aiohttp.ClientSession, method: str, path: str, status: int) -> None:
    async with client.request(method, path) as response:
        assert response.status == status
        assert_refused(await response.json())


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.binary(max_size=300),
    kind=st.sampled_from(["image/jpeg", "application/json", "multipart/form-data; boundary=x"]),
)
async def test_nonsense_is_never_an_internal_error(client: aiohttp.ClientSession, body: bytes, kind: str) -> None:
    async with client.post("/analyze", data=body, headers={"Content-Type": kind}) as response:
        assert 400 <= response.status < 500
        assert_refused(await response.json())


@pytest.mark.parametrize(
    ("origin", "status"),
    [(None, 101), ("http://127.0.0.1:{port}", 101), ("http://localhost:3000", 101), ("http://evil.example", 403)],
)
async def test_pages_of_strangers_get_no_pictures(server: str, origin: str | None, status: int) -> None:
    headers = {"Origin": origin.format(port=server.rpartition(":")[2])} if origin else {}
    async with aiohttp.ClientSession(server) as session:
        expected = pytest.raises(aiohttp.WSServerHandshakeError, match="403") if status == 403 else nullcontext()
        with expected:
            await (await session.ws_connect("/api/preview", headers=headers)).close()


async def test_garbage_on_the_preview_is_answered_by_closing(client: aiohttp.ClientSession) -> None:
    for wish in ("no json", '{"want": {"x": 1}}', '{"want": {"' + "\u00e9" * 200 + '": "a"}}', '{"wont": {}}'):
        async with client.ws_connect("/api/preview") as socket:
            await socket.send_str(wish)
            closed = await socket.receive(timeout=5)
            assert (closed.type, closed.data) == (aiohttp.WSMsgType.CLOSE, 1008)


async def test_browsers_may_ask_first(client: aiohttp.ClientSession) -> None:
    async with client.options("/analyze") as response:
        assert response.status == 204
        assert "POST" in response.headers["Access-Control-Allow-Methods"]


async def test_health_schema_and_info(client: aiohttp.ClientSession) -> None:
    for path, expected in (
        ("/healthz", {"status": "ok"}),
        ("/schema.json", schema()),
        ("/api/info", INFO | {"role": "control", "privacy": msgspec.structs.asdict(PrivacySettings())}),
    ):
        async with client.get(path) as response:
            assert response.status == 200
            assert await response.json() == expected


async def test_the_page_is_served_with_a_strict_policy(client: aiohttp.ClientSession) -> None:
    async with client.get("/") as response:
        assert response.status == 200
        assert response.content_type == "text/html"
        assert "default-src 'self'" in response.headers["Content-Security-Policy"]
    for path, kind in (("/app.js", "javascript"), ("/style.css", "text/css"), ("/icon.svg", "image/svg+xml")):
        async with client.get(path) as response:
            assert response.status == 200
            assert response.content_type.endswith(kind)


@pytest.mark.parametrize("path", ["/../server.py", "/%2e%2e/server.py", "/server.py", "/..%2fserver.py"])
async def test_only_the_pages_own_files_are_served(client: aiohttp.ClientSession, path: str) -> None:
    async with client.get(path) as response:
        assert response.status == 404


def test_the_answer_has_no_more_than_the_contract_allows() -> None:
    assert set(ImageAnswer.__struct_fields__) == {"faces", "image", "timings"}
