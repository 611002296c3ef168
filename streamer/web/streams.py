"""The streams over HTTP: how each is doing, and adding, changing, pausing and removing them while all goes on."""

import re
import time
from collections.abc import Awaitable, Callable
from pathlib import PurePath
from typing import Any, cast

import msgspec
from aiohttp import web

from streamer.config import Name, StreamSettings
from streamer.configfile import convert
from streamer.contract import ErrorObject, FrameRecord, ImageSize, State, StatusRecord
from streamer.errors import ConfigError, redact_address
from streamer.face import Clock
from streamer.fleet import Fleet, StreamReport
from streamer.flow import Hub, Message
from streamer.media.address import resolve
from streamer.media.source import Tally
from streamer.records import error_object
from streamer.web.answers import json_answer
from streamer.web.routes import Route
from streamer.web.uploads import body

_SECRETS = ("url", "user", "password")
_NOT_OVER_HTTP = ("format", "password_env", "password_file")
_HIDDEN = "***"  # in an address as it is shown


class Fps(msgspec.Struct, frozen=True):
    """Frames a second."""

    delivered: float
    analysed: float


class StreamEntry(msgspec.Struct, frozen=True, rename="camel"):
    """What there is to know of a stream; `settings` as in a configuration, without secrets."""

    name: str
    settings: dict[str, Any]
    state: State
    paused: bool
    processed: int
    skipped: dict[str, int]
    fps: Fps
    age_ms: float
    looks_held_ms: int
    source: Tally
    error: ErrorObject | msgspec.UnsetType = msgspec.UNSET
    clock: Clock | msgspec.UnsetType = msgspec.UNSET
    image: ImageSize | msgspec.UnsetType = msgspec.UNSET
    status: StatusRecord | msgspec.UnsetType = msgspec.UNSET
    frame: FrameRecord | msgspec.UnsetType = msgspec.UNSET


class StreamList(msgspec.Struct, frozen=True):
    """All streams by name."""

    streams: dict[str, StreamEntry]


class StreamHandlers:
    """`/api/streams`. Whoever may change streams can make this machine open addresses."""

    def __init__(self, hub: Hub, fleet: Fleet) -> None:
        self._hub = hub
        self._fleet = fleet

    @property
    def routes(self) -> tuple[Route, ...]:
        stream, entry = "/api/streams/{name}", ((200, StreamEntry),)
        new, settings = (*entry, (201, StreamEntry)), {"application/json": StreamSettings}
        return (
            Route("GET", "/api/streams", self.all, "view", ((200, StreamList),)),
            Route("GET", stream, self.one, "view", entry),
            Route("PUT", stream, self.put, "control", new, (400, 413, 503), body=settings),
            Route("DELETE", stream, self.remove, "control", ((204, None),), (503,)),
            Route("POST", f"{stream}/pause", self.pause, "control", entry, (503,)),
            Route("POST", f"{stream}/resume", self.resume, "control", entry, (503,)),
        )

    async def all(self, _request: web.Request) -> web.Response:
        """What there is to know of every stream."""
        return json_answer(StreamList({name: self._entry(report) for name, report in self._fleet.reports.items()}))

    async def one(self, request: web.Request) -> web.Response:
        """What there is to know of one stream."""
        return json_answer(self._entry(self._fleet.report(request.match_info["name"])))

    async def put(self, request: web.Request) -> web.Response:
        """Add the stream, or give it other settings: those of `[streams.NAME]` as JSON. A setting that is not named has
        its default; a change that gives no user keeps the one the stream has, and its password.
        """
        name = _name(request.match_info["name"])
        settings = _settings(await body(request))
        known = self._fleet.reports.get(name)
        if known:
            settings = _with_secrets(settings, known.settings)
        if _HIDDEN in settings.url:
            raise ConfigError(f"$.url: {_HIDDEN} stands for what is not shown", "give user, password or token anew")
        await self._fleet.put(name, settings)
        return json_answer(self._entry(self._fleet.report(name)), status=200 if known else 201)

    async def remove(self, request: web.Request) -> web.Response:
        """End a stream and forget it."""
        await self._fleet.remove(request.match_info["name"])
        return web.Response(status=204)

    async def pause(self, request: web.Request) -> web.Response:
        """Leave a stream's camera alone until it is resumed."""
        return await self._done(request, self._fleet.pause)

    async def resume(self, request: web.Request) -> web.Response:
        """Go on with a stream that was paused or has ended."""
        return await self._done(request, self._fleet.resume)

    async def _done(self, request: web.Request, work: Callable[[str], Awaitable[None]]) -> web.Response:
        await work(request.match_info["name"])
        return await self.one(request)

    def _entry(self, report: StreamReport) -> StreamEntry:
        settings = {k: v for k, v in msgspec.structs.asdict(report.settings).items() if k not in _SECRETS}
        now = time.monotonic()
        return StreamEntry(
            name=report.name,
            settings={"url": redact_address(report.settings.url)} | settings,
            state=report.state,
            paused=report.paused,
            processed=report.processed,
            skipped=dict(report.skipped),
            fps=Fps(round(report.delivered.at(now), 1), round(report.analysed.at(now), 1)),
            age_ms=round(report.age * 1000, 1),
            looks_held_ms=round(report.looks_held * 1000),
            source=report.source,
            error=error_object(report.error) if report.error else msgspec.UNSET,
            clock=report.clock or msgspec.UNSET,
            image=ImageSize(*report.size) if report.clock else msgspec.UNSET,
            # Records are there as JSON already.
            status=cast(StatusRecord, _encoded(self._hub.states.get(report.name))),
            frame=cast(FrameRecord, _encoded(self._hub.frames.get(report.name))),
        )


def _encoded(message: Message | None) -> msgspec.Raw | msgspec.UnsetType:
    return msgspec.Raw(message.data) if message else msgspec.UNSET


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
