"""The streams over HTTP: how each is doing, and adding, changing, pausing and removing them while all goes on."""

import ipaddress
import re
import time
from collections.abc import Awaitable, Callable
from pathlib import PurePath
from typing import Any
from urllib.parse import urlsplit

import msgspec
from aiohttp import web

from streamer.config import Name, ServerSettings, StreamSettings, convert
from streamer.contract import encode, error_object
from streamer.errors import ConfigError, ForbiddenError, redact_address
from streamer.fleet import Fleet, StreamReport
from streamer.flow import Hub
from streamer.media.address import resolve
from streamer.outputs.push import THIS_MACHINE, origin_allowed
from streamer.web.uploads import body

_SECRETS = ("url", "user", "password")
_NOT_OVER_HTTP = ("format", "password_env", "password_file")
_HIDDEN = "***"  # in an address as it is shown


class StreamHandlers:
    """`/api/streams`. Whoever may change streams can make this machine open addresses: only its own programs may."""

    def __init__(self, hub: Hub, fleet: Fleet, settings: ServerSettings) -> None:
        self._hub = hub
        self._fleet = fleet
        self._settings = settings

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/api/streams", self.all)
        router.add_get("/api/streams/{name}", self.one)
        router.add_put("/api/streams/{name}", self.put)
        router.add_delete("/api/streams/{name}", self.remove)
        router.add_post("/api/streams/{name}/pause", self.pause)
        router.add_post("/api/streams/{name}/resume", self.resume)

    async def all(self, _request: web.Request) -> web.Response:
        """What there is to know of every stream."""
        return _json({"streams": {name: self._entry(report) for name, report in self._fleet.reports.items()}})

    async def one(self, request: web.Request) -> web.Response:
        return _json(self._entry(self._fleet.report(request.match_info["name"])))

    async def put(self, request: web.Request) -> web.Response:
        """Add the stream, or give it other settings: those of `[streams.NAME]` as JSON. A setting that is not named has
        its default; a change that gives no user keeps the one the stream has, and its password.
        """
        self._check(request)
        name = _name(request.match_info["name"])
        settings = _settings(await body(request))
        known = self._fleet.reports.get(name)
        if known:
            settings = _with_secrets(settings, known.settings)
        if _HIDDEN in settings.url:
            raise ConfigError(f"$.url: {_HIDDEN} stands for what is not shown", "give user, password or token anew")
        await self._fleet.put(name, settings)
        return _json(self._entry(self._fleet.report(name)), status=200 if known else 201)

    async def remove(self, request: web.Request) -> web.Response:
        self._check(request)
        await self._fleet.remove(request.match_info["name"])
        return web.Response(status=204)

    async def pause(self, request: web.Request) -> web.Response:
        return await self._done(request, self._fleet.pause)

    async def resume(self, request: web.Request) -> web.Response:
        return await self._done(request, self._fleet.resume)

    async def _done(self, request: web.Request, work: Callable[[str], Awaitable[None]]) -> web.Response:
        self._check(request)
        await work(request.match_info["name"])
        return await self.one(request)

    def _check(self, request: web.Request) -> None:
        """Raises ForbiddenError for all but programs on this machine and its own page."""
        if not self._settings.control:
            raise ForbiddenError("streams cannot be changed over HTTP here", "set control = true under [server]")
        # A page elsewhere may have its name resolve to this machine: then Host is that name.
        local = _is_loopback(request.remote) and _host(request) in (*THIS_MACHINE, self._settings.host)
        # `origins` may see records; whoever may change streams, too, runs here.
        if not local or not origin_allowed(request.headers.get("Origin"), request.host, ()):
            raise ForbiddenError("only programs on this machine may change streams", "ask from there, or edit the file")

    def _entry(self, report: StreamReport) -> dict[str, Any]:
        settings = {k: v for k, v in msgspec.structs.asdict(report.settings).items() if k not in _SECRETS}
        now = time.monotonic()
        entry: dict[str, Any] = {
            "name": report.name,
            "settings": {"url": redact_address(report.settings.url)} | settings,
            "state": report.state,
            "paused": report.paused,
            "processed": report.processed,
            "skipped": dict(report.skipped),
            "fps": {"delivered": round(report.delivered.at(now), 1), "analysed": round(report.analysed.at(now), 1)},
            "ageMs": round(report.age * 1000, 1),
            "looksHeldMs": round(report.looks_held * 1000),
            "source": msgspec.structs.asdict(report.source),
        }
        if report.error is not None:
            entry["error"] = error_object(report.error)
        if report.clock is not None:
            entry |= {"clock": report.clock, "image": dict(zip(("width", "height"), report.size, strict=True))}
        for kind, messages in (("status", self._hub.states), ("frame", self._hub.frames)):
            if report.name in messages:
                entry[kind] = msgspec.Raw(messages[report.name].data)
        return entry


def _name(text: str) -> str:
    try:
        return msgspec.convert(text, Name)
    except msgspec.ValidationError:
        raise ConfigError(
            f"{text!r} cannot be a stream's name",
            "take up to 60 letters, digits, spaces and . _ - after a first letter",
        ) from None


def _settings(data: bytes) -> StreamSettings:
    """Raises ConfigError for what is none, and for what only a configuration on this machine may say."""
    try:
        raw = msgspec.json.decode(data)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"the body is not JSON: {error}", 'send {"url": "rtsp://..."}') from None
    settings = convert(raw, StreamSettings, "the stream")
    for key in _NOT_OVER_HTTP:
        if getattr(settings, key):
            raise ConfigError(f"$.{key}: cannot be given over HTTP", "name it in the configuration file")
    if resolve(settings).kind == "file" or ".." in PurePath(settings.url).parts[:-1]:
        raise ConfigError("$.url: files cannot be opened over HTTP", "name them in the configuration file")
    return settings


def _with_secrets(new: StreamSettings, old: StreamSettings) -> StreamSettings:
    """`new` with the secrets of `old` where it names none; they are never carried over to another machine.

    An address as it is shown stands for the one that is hidden.
    """
    if new.url == redact_address(old.url):
        new = msgspec.structs.replace(new, url=old.url)
    scheme, who, rest = _parts(new.url)
    old_scheme, old_who, old_rest = _parts(old.url)
    host, old_host = (re.split("[/?#]", r)[0].lower() for r in (rest, old_rest))
    if new.user or who not in ("", f"{_HIDDEN}@", old_who) or (scheme, host) != (old_scheme, old_host):
        return new
    return msgspec.structs.replace(
        new,
        url=f"{scheme}{old_who}{rest}",
        user=old.user,
        password=new.password or old.password,
    )


def _parts(url: str) -> tuple[str, str, str]:
    """An address as FFmpeg reads it: up to `://`, up to the `@` of user and password, and the rest."""
    found = re.fullmatch(r"([^/?#]*://|)((?:[^/?#]*@|))(.*)", url, re.DOTALL)
    assert found is not None, "the expression matches every text"
    return found[1].lower(), found[2], found[3]


def _host(request: web.Request) -> str | None:
    """The name by which the request calls this machine."""
    try:
        return urlsplit(f"//{request.host}").hostname
    except ValueError:
        return None


def _is_loopback(address: str | None) -> bool:
    try:
        return ipaddress.ip_address(address or "").is_loopback
    except ValueError:
        return False


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=encode(value), status=status, content_type="application/json")
