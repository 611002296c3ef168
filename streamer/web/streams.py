"""The streams over HTTP: how each is doing, and adding, changing, pausing and removing them while all goes on."""

import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec
from aiohttp import web

from streamer.config import Name, StreamSettings, convert
from streamer.contract import error_object
from streamer.errors import ConfigError, redact_address
from streamer.fleet import Fleet, StreamReport
from streamer.flow import Hub
from streamer.media.address import resolve
from streamer.web.answers import json_answer
from streamer.web.routes import Route
from streamer.web.uploads import body

_SECRETS = ("url", "user", "password")
_NOT_OVER_HTTP = ("format", "password_env", "password_file")


class StreamHandlers:
    """`/api/streams`. Whoever may change streams can make this machine open addresses."""

    def __init__(self, hub: Hub, fleet: Fleet) -> None:
        self._hub = hub
        self._fleet = fleet

    @property
    def routes(self) -> tuple[Route, ...]:
        stream = "/api/streams/{name}"
        return (
            Route("GET", "/api/streams", self.all, "view"),
            Route("GET", stream, self.one, "view"),
            Route("PUT", stream, self.put, "control"),
            Route("DELETE", stream, self.remove, "control"),
            Route("POST", f"{stream}/pause", self.pause, "control"),
            Route("POST", f"{stream}/resume", self.resume, "control"),
        )

    async def all(self, _request: web.Request) -> web.Response:
        """What there is to know of every stream."""
        return json_answer({"streams": {name: self._entry(report) for name, report in self._fleet.reports.items()}})

    async def one(self, request: web.Request) -> web.Response:
        return json_answer(self._entry(self._fleet.report(request.match_info["name"])))

    async def put(self, request: web.Request) -> web.Response:
        """Add the stream, or give it other settings: those of `[streams.NAME]` as JSON. A setting that is not named has
        its default; a change that gives neither user nor password keeps those the stream has.
        """
        name = convert(request.match_info["name"], Name, "the stream's name")
        settings = _settings(await body(request))
        known = self._fleet.reports.get(name)
        if known and not settings.user and _place(settings.url) == _place(known.settings.url):
            settings = msgspec.structs.replace(settings, user=known.settings.user, password=known.settings.password)
        await self._fleet.put(name, settings)
        return json_answer(self._entry(self._fleet.report(name)), status=200 if known else 201)

    async def remove(self, request: web.Request) -> web.Response:
        await self._fleet.remove(request.match_info["name"])
        return web.Response(status=204)

    async def pause(self, request: web.Request) -> web.Response:
        return await self._done(request, self._fleet.pause)

    async def resume(self, request: web.Request) -> web.Response:
        return await self._done(request, self._fleet.resume)

    async def _done(self, request: web.Request, work: Callable[[str], Awaitable[None]]) -> web.Response:
        await work(request.match_info["name"])
        return await self.one(request)

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
    if resolve(settings).kind == "file":
        raise ConfigError("$.url: files cannot be opened over HTTP", "name them in the configuration file")
    return settings


def _place(url: str) -> str:
    """Scheme, host and port: a password is not carried over to another machine."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
