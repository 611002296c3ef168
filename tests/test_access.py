"""Who may do what: tokens and their roles, on every address and on both ports; TLS; and that no token is ever told."""

import asyncio
import contextlib
import logging
import re
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.typing import Origin

from streamer.access import Access, Asker, tls_context
from streamer.app import App
from streamer.config import ServerSettings, Settings, StreamSettings, TokenSettings
from streamer.configfile import read_settings
from streamer.errors import ConfigError, ForbiddenError, NoTokenError
from streamer.fleet import Fleet
from streamer.flow import Hub
from streamer.inference.models import Workshop
from streamer.outputs.fanout import Fanout
from streamer.outputs.push import push_server
from streamer.web.server import FaceServer
from tests.conftest import Streamer
from tests.servers.tls import self_signed
from tests.test_run import running
from tests.test_web import INFO, assert_portrait, assert_refused, form, no_results, serving

VIEW, CONTROL, WRONG = "view-w0rd-1234", "control-w0rd-1234", "another-w0rd-1234"
TOKENS = {"wall": TokenSettings("view", VIEW), "boss": TokenSettings("control", CONTROL)}
HERE = Asker("127.0.0.1", "localhost:8080")
AWAY = Asker("192.0.2.7", "192.0.2.1:8080")


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
async def client(workshop: Workshop) -> AsyncIterator[aiohttp.ClientSession]:
    async with serving(workshop, tokens=TOKENS) as url, aiohttp.ClientSession(url) as session:
        yield session


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.5", "camera-pc", "127.0.0.1.evil.example"])
def test_a_server_for_others_without_tokens_is_refused(host: str) -> None:
    with pytest.raises(ConfigError, match="no tokens") as caught:
        Access(ServerSettings(host=host))
    assert "anonymous" in caught.value.hint
    Access(ServerSettings(host=host, anonymous="view"))
    Access(ServerSettings(host=host, tokens=TOKENS))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.3.2.1"])
def test_this_machine_needs_no_token(host: str) -> None:
    Access(ServerSettings(host=host)).check(HERE, "control")


async def test_the_program_does_not_start_open_to_a_network(streamer: Streamer, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no tokens"):
        await App(Settings(server=ServerSettings(host="0.0.0.0"))).run(0.1)
    done = await asyncio.to_thread(streamer, "run", "--source", "demo", "--host", "0.0.0.0", "--duration", "0.1")
    assert done.returncode == 2
    assert "there are no tokens" in done.stderr
    config = tmp_path / "c.toml"
    config.write_text("[streams.a]\nurl = 'demo'\n[server]\nhost = '0.0.0.0'\n")
    done = await asyncio.to_thread(streamer, "check", config)
    assert (done.returncode, "there are no tokens" in done.stderr) == (2, True)
    done = await asyncio.to_thread(streamer, "doctor", config)
    assert "there are no tokens" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("server", "asker", "role"),
    [
        ({}, HERE, "control"),
        ({}, AWAY, None),
        ({}, Asker("127.0.0.1", "evil.example"), None),  # a name that resolves to this machine
        ({}, Asker(None, "localhost"), None),
        ({"anonymous": "view"}, HERE, "control"),
        ({"anonymous": "view"}, AWAY, "view"),
        ({"anonymous": "view", "host": "0.0.0.0"}, HERE, "view"),  # a proxy on this machine asks for anybody
        ({"tokens": TOKENS}, HERE, None),
        ({"tokens": TOKENS}, AWAY._replace(secrets=(VIEW,)), "view"),
        ({"tokens": TOKENS}, AWAY._replace(secrets=(CONTROL,)), "control"),
        ({"tokens": TOKENS}, AWAY._replace(secrets=(VIEW, WRONG, CONTROL, VIEW)), "control"),
        ({"tokens": TOKENS}, AWAY._replace(secrets=(WRONG, "", VIEW + " ", VIEW[:-1], "wall")), None),
        ({"tokens": TOKENS, "anonymous": "view"}, AWAY, "view"),
        ({"tokens": TOKENS, "anonymous": "view"}, AWAY._replace(secrets=(CONTROL,)), "control"),
    ],
)
def test_roles(server: dict[str, Any], asker: Asker, role: str | None) -> None:
    assert Access(ServerSettings(**server)).role(asker) == role


def test_what_a_role_may_do() -> None:
    access = Access(ServerSettings(tokens=TOKENS))
    access.check(AWAY._replace(secrets=(CONTROL,)), "control")
    with pytest.raises(NoTokenError, match="needs a token"):
        access.check(AWAY, "view")
    with pytest.raises(NoTokenError, match="wrong"):
        access.check(AWAY._replace(secrets=(WRONG,)), "view")
    with pytest.raises(ForbiddenError, match="only view"):
        access.check(AWAY._replace(secrets=(VIEW,)), "control")
    with pytest.raises(ForbiddenError):  # a page elsewhere that has got hold of the token
        access.check(AWAY._replace(secrets=(CONTROL,), origin="http://evil.example"), "control")
    with pytest.raises(ForbiddenError, match="cannot be changed"):
        Access(ServerSettings(tokens=TOKENS, control=False)).check(AWAY._replace(secrets=(CONTROL,)), "control")


def routes(workshop: Workshop) -> list[tuple[str, str, str | None]]:
    hub = Hub()
    server = FaceServer(Settings(), hub, Fleet(hub, no_results), Fanout(hub), workshop, INFO)
    return [(route.method, re.sub(r":[^}]*}", "}", route.path), route.need) for route in server.routes]


async def test_every_address_is_guarded(client: aiohttp.ClientSession, workshop: Workshop) -> None:
    """Whatever is added later, too: what changes something needs `control`, and what is open is named here."""
    is_open = {"/", "/{name}", "/healthz", "/readyz"}
    for method, path, need in routes(workshop):
        if path == "/analyze":
            continue
        changes = method not in ("GET", "HEAD", "OPTIONS")
        assert need == (None if path in is_open else "control" if changes else "view"), path
        if need is None:
            continue
        address = path.replace("{name}", "nobody")
        for token, status in ((None, 401), (WRONG, 401), (VIEW, 403 if need == "control" else None)):
            async with client.request(method, address, headers=bearer(token) if token else None) as response:
                if status is None:
                    assert response.status not in (401, 403), path
                else:
                    assert response.status == status, path
                    assert_refused(await response.json(), "noToken" if status == 401 else "forbidden")
                    assert ("WWW-Authenticate" in response.headers) == (status == 401)
        async with client.request(method, address, headers=bearer(CONTROL)) as response:
            assert response.status not in (401, 403), path


async def test_a_token_may_come_in_the_address(client: aiohttp.ClientSession) -> None:
    for token, status in ((VIEW, 200), (WRONG, 401), ("", 401)):
        async with client.get("/api/streams", params={"token": token}) as response:
            assert response.status == status
    async with client.ws_connect(f"/api/preview?token={VIEW}") as socket:
        await socket.close()
    with pytest.raises(aiohttp.WSServerHandshakeError, match="401"):
        await client.ws_connect("/api/preview")


@pytest.mark.parametrize("field", ["access_key", "secret_key"])
async def test_the_forms_of_existing_clients_carry_the_token(
    client: aiohttp.ClientSession, jpeg: bytes, field: str
) -> None:
    async with client.post("/analyze", data=form("filename", jpeg, **{field: VIEW})) as response:
        assert response.status == 200
        assert_portrait(await response.json())


async def test_analyze_needs_a_token_in_every_form(client: aiohttp.ClientSession, jpeg: bytes) -> None:
    for options in (
        {"data": form("filename", jpeg)},
        {"data": form("filename", jpeg, access_key=WRONG, secret_key="")},
        {"data": form("filename", jpeg), "headers": bearer(WRONG)},
        {"data": jpeg, "headers": {"Content-Type": "image/jpeg"}},
        {"json": {"image": "x", "access_key": WRONG}},
        {"data": b"x", "headers": {"Content-Type": "multipart/form-data"}},
    ):
        async with client.post("/analyze", **options) as response:
            assert response.status in (400, 401)
            assert response.headers["Access-Control-Allow-Origin"] == "*"
            assert_refused(await response.json())
    async with client.post("/analyze", data=jpeg, headers={"Content-Type": "image/jpeg"} | bearer(VIEW)) as response:
        assert response.status == 200


async def test_the_page_can_tell_what_its_token_is_good_for(client: aiohttp.ClientSession) -> None:
    for token, role in ((VIEW, "view"), (CONTROL, "control")):
        async with client.get("/api/info", headers=bearer(token)) as response:
            assert (await response.json())["role"] == role
    for path in ("/", "/app.js"):  # which asks for the token
        async with client.get(path) as response:
            assert response.status == 200


async def test_security_headers_are_on_every_answer(client: aiohttp.ClientSession) -> None:
    for path in ("/", "/app.js", "/healthz", "/api/streams", "/nothing", "/analyze", "/%00", "/api/info?token=x"):
        async with client.get(path) as response:
            assert response.headers["X-Content-Type-Options"] == "nosniff", path
            assert response.headers["Referrer-Policy"] == "no-referrer"
            assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("cors", "origin", "allowed"),
    [
        (("*",), "https://shop.example", "*"),
        (("https://shop.example",), "https://shop.example", "https://shop.example"),
        (("https://shop.example",), "https://evil.example", None),
        (("https://shop.example",), None, None),
        ((), "https://shop.example", None),
    ],
)
async def test_which_pages_may_read_what_analyze_says(
    workshop: Workshop, cors: tuple[str, ...], origin: str | None, allowed: str | None
) -> None:
    headers = {"Origin": origin} if origin else {}
    async with serving(workshop, cors=cors) as url, aiohttp.ClientSession(url, headers=headers) as client:
        for method in ("OPTIONS", "POST"):
            async with client.request(method, "/analyze") as response:
                assert response.headers.get("Access-Control-Allow-Origin") == allowed
                assert "Access-Control-Allow-Credentials" not in response.headers
        async with client.get("/api/streams") as response:
            assert "Access-Control-Allow-Origin" not in response.headers


@contextlib.asynccontextmanager
async def push(**settings: Any) -> AsyncIterator[str]:
    server = ServerSettings(ws_port=0, **settings)
    async with push_server(Hub("s1"), server, lambda: b'{"type":"hello"}') as port:
        yield f"ws{'s' if server.certificate else ''}://127.0.0.1:{port}/"


async def test_the_websocket_asks_for_the_token() -> None:
    async with push(tokens=TOKENS) as url:
        async with connect(url, additional_headers=bearer(VIEW)) as socket:
            assert await socket.recv() == '{"type":"hello"}'
        async with connect(f"{url}?streams=a&token={CONTROL}") as socket:
            assert await socket.recv() == '{"type":"hello"}'
        for wrong in (url, f"{url}?token={WRONG}", f"{url}?token="):
            with pytest.raises(InvalidStatus) as refused:
                await connect(wrong)
            response = refused.value.response
            assert (response.status_code, "WWW-Authenticate" in response.headers) == (401, True)
            assert b"w0rd" not in (response.body or b"")
        for wrong in (url, f"{url}?token={WRONG}"):  # a page is told nothing but how its connection ends
            async with connect(wrong, origin=Origin("http://127.0.0.1")) as socket:
                with pytest.raises(ConnectionClosedError) as closed:
                    await socket.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1008
            assert "token" in closed.value.rcvd.reason
            assert "w0rd" not in closed.value.rcvd.reason
    async with push() as url:
        with pytest.raises(InvalidStatus, match="403"):  # a name that resolves to this machine
            await connect(url, additional_headers={"Host": "evil.example"})


def trusting(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificate)


async def test_both_ports_speak_tls(workshop: Workshop, tmp_path: Path) -> None:
    both = str(self_signed(tmp_path))
    apart: dict[str, Any] = {"certificate": str(tmp_path / "certificate.pem"), "key": str(tmp_path / "key.pem")}
    trust = trusting(tmp_path / "certificate.pem")
    for files in (dict[str, Any](certificate=both), apart):
        async with serving(workshop, **files) as url, aiohttp.ClientSession() as session:
            assert url.startswith("https://")
            async with session.get(f"{url}/healthz", ssl=trust) as response:
                assert response.status == 200
        async with push(**files) as url, connect(url, ssl=trust) as socket:
            assert await socket.recv() == '{"type":"hello"}'


def test_files_that_are_no_certificate_are_said(tmp_path: Path) -> None:
    self_signed(tmp_path)
    certificate, key = str(tmp_path / "certificate.pem"), str(tmp_path / "key.pem")
    (tmp_path / "other").mkdir()
    self_signed(tmp_path / "other")
    (tmp_path / "text").write_text("no certificate")
    locked = tmp_path / "locked.pem"
    subprocess.run(
        ["openssl", "rsa", "-aes256", "-passout", "pass:w0rdw0rd", "-in", key, "-out", locked],
        check=True,
        capture_output=True,
    )
    for settings, message in (
        ({"certificate": str(tmp_path / "none.pem")}, "No such file"),
        ({"certificate": certificate, "key": str(tmp_path)}, "directory"),
        ({"certificate": certificate, "key": str(tmp_path / "other" / "key.pem")}, "not that of the certificate"),
        ({"certificate": str(tmp_path / "text")}, "PEM"),
        ({"certificate": certificate}, "PEM"),  # which lacks the key
        ({"certificate": certificate, "key": str(locked)}, "encrypted"),
    ):
        with pytest.raises(ConfigError, match=message):
            tls_context(ServerSettings(**settings))  # type: ignore[arg-type]


def test_tokens_are_read_from_where_a_configuration_says(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text(f"{CONTROL}\n")
    file = tmp_path / "c.toml"
    file.write_text(
        "[server.tokens.a]\ntoken_env = 'T'\n[server.tokens.b]\nrole = 'control'\ntoken_file = 't.txt'\n"
        "[server]\ncertificate = 'c.pem'\n"
    )
    server = read_settings(file, {"T": VIEW}).server
    assert server.tokens == {"a": TokenSettings("view", VIEW), "b": TokenSettings("control", CONTROL)}
    assert server.certificate == str(tmp_path / "c.pem")
    with pytest.raises(ConfigError, match="variable T is not set"):
        read_settings(file, {})
    with pytest.raises(ConfigError, match="at least 8"):
        read_settings(file, {"T": "short"})
    with pytest.raises(ConfigError, match="the token is empty"):
        read_settings(file, {"T": ""})
    (tmp_path / "t.txt").unlink()
    with pytest.raises(ConfigError, match=r"t\.txt cannot be read"):
        read_settings(file, {"T": VIEW})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[server.tokens.a]\nrole = 'view'", "give one of token"),
        ("[server.tokens.a]\ntoken = 'x2345678'\ntoken_env = 'T'", "give one of token"),
        ("[server.tokens.a]\ntoken = 'w0rd'", "at least 8"),
        ("[server.tokens.a]\ntoken = 'x2345678'\nrole = 'root'", "role"),
        ("[server]\nkey = 'k.pem'", "key without certificate"),
        ("[server]\nanonymous = 'control'", "anonymous"),
    ],
)
def test_access_that_cannot_be_meant_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "c.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_settings(file, {"T": VIEW})
    assert "w0rd" not in str(caught.value)


async def test_no_token_is_ever_told(
    workshop: Workshop, jpeg: bytes, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in answers nor in the log, also where a request fails for want of sense, or in the middle."""
    caplog.set_level(logging.DEBUG)
    told = ""

    async def broken(_self: object, _request: web.Request) -> web.Response:
        raise RuntimeError("on purpose")

    monkeypatch.setattr(FaceServer, "schema", broken)
    async with serving(workshop, tokens=TOKENS) as url, aiohttp.ClientSession(url) as session:
        for path in ("/schema.json", "/api/streams", "/api/streams/x", "/nothing", "/api/info"):
            for token in (VIEW, WRONG):
                for method in ("GET", "PUT", "DELETE"):
                    async with session.request(method, path, params={"token": token}, headers=bearer(token)) as answer:
                        told += await answer.text() + str(answer.headers)
        async with session.post("/analyze", data=form("filename", b"x", access_key=VIEW, secret_key=WRONG)) as answer:
            told += await answer.text()
    logged = "\n".join(r.getMessage() + str(r.exc_text or "") for r in caplog.records)
    assert "on purpose" in logged
    for token in (VIEW, CONTROL, WRONG):
        assert token not in told + logged


async def test_the_program_keeps_its_tokens_to_itself(streamer: Streamer, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    both = self_signed(tmp_path)
    config.write_text(
        f"[streams.a]\nurl = 'demo'\n[server]\nhost = '0.0.0.0'\ncertificate = '{both}'\n"
        f"[server.tokens.wall]\ntoken = '{VIEW}'\n[server.tokens.boss]\nrole = 'control'\ntoken = '{CONTROL}'\n"
    )
    checked = await asyncio.to_thread(streamer, "check", config)
    assert checked.returncode == 0, checked.stderr
    assert "wall (view), boss (control)" in checked.stdout
    assert "https://0.0.0.0" in checked.stdout
    trust = trusting(tmp_path / "certificate.pem")
    async with running("run", config, "--verbose") as run, aiohttp.ClientSession() as session:
        page, websocket = (a.replace("0.0.0.0", "127.0.0.1") for a in (run.page, run.websocket))
        assert (page[:8], websocket[:6]) == ("https://", "wss://")
        async with session.get(f"{page}api/streams", headers=bearer(VIEW), ssl=trust) as response:
            streams = await response.text()
            assert response.status == 200
        async with connect(f"{websocket}?token={VIEW}", ssl=trust) as socket:
            hello = str(await socket.recv())
        with pytest.raises(InvalidStatus):
            await connect(f"{websocket}?token={WRONG}", ssl=trust)
        await run.stop()
        assert run.process.stdout is not None
        output = (await run.process.stdout.read()).decode()
    assert "w0rd" not in checked.stdout + checked.stderr + streams + hello + output


async def test_a_token_for_a_run_without_a_configuration(streamer: Streamer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMER_TEST_TOKEN", CONTROL)
    async with running("demo", "--host", "0.0.0.0", "--token-env", "STREAMER_TEST_TOKEN") as run:
        page = run.page.replace("0.0.0.0", "127.0.0.1")
        async with aiohttp.ClientSession(page) as session:
            async with session.get("/api/info") as response:
                assert response.status == 401
            async with session.post("/api/streams/demo/pause", headers=bearer(CONTROL)) as response:
                assert response.status == 200
        await run.stop()
    done = await asyncio.to_thread(streamer, "run", "-s", "demo", "--host", "0.0.0.0", "--token-env", "NO_SUCH_VAR")
    assert (done.returncode, "NO_SUCH_VAR is not set" in done.stderr) == (2, True)


async def test_pages_of_strangers_change_nothing_even_with_a_token(client: aiohttp.ClientSession) -> None:
    headers = bearer(CONTROL) | {"Origin": "http://evil.example"}
    settings = {"url": StreamSettings("demo").url}
    async with client.put("/api/streams/x", json=settings, headers=headers) as response:
        assert response.status == 403
