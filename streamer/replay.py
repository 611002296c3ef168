"""A log served as if its cameras were here: the same records on the websocket, at any speed, from any moment on."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Annotated

import msgspec
from aiohttp import web

from streamer import __version__
from streamer.config import Settings
from streamer.contract import SCHEMA_VERSION, HelloRecord, State, encode
from streamer.errors import ConfigError
from streamer.face import FrameResult
from streamer.fleet import Fleet, StreamReport
from streamer.flow import Hub, Message
from streamer.inference.models import Workshop
from streamer.log.player import Player
from streamer.log.select import Logged
from streamer.media.source import StateChange
from streamer.outputs.fanout import Fanout
from streamer.records import rfc3339
from streamer.serving import Addresses, serving
from streamer.web.answers import json_answer
from streamer.web.routes import Route
from streamer.web.uploads import body

_FASTEST = 1000.0


class Replayed(msgspec.Struct, frozen=True):
    """Where a replay is: times are RFC 3339 UTC, `speed` is a multiple of the original one; 0: as fast as possible."""

    position: str
    start: str
    end: str
    speed: float
    playing: bool
    streams: list[str]


class Wish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a replay is to do; what is not named stays as it is. `position` is RFC 3339."""

    position: str | None = None
    speed: Annotated[float, msgspec.Meta(ge=0, le=_FASTEST)] | None = None
    playing: bool | None = None


class _Seen(msgspec.Struct):
    """What consumers must know of a frame, and of a change of state."""

    faces: list[msgspec.Raw] = []
    state: State = "connecting"


_seen = msgspec.json.Decoder(_Seen).decode


class Replay:
    """Serves what a player plays. Each time that it begins elsewhere in the log is a session of its own."""

    def __init__(self, player: Player, settings: Settings) -> None:
        self._player = player
        self._settings = settings
        self._hub = Hub("replay")
        self._fanout = Fanout(self._hub)
        self._fleet = Fleet(self._hub, _no_results)  # of reports only: nothing runs
        self._fleet.reports = {name: StreamReport(name) for name in player.streams}
        self._begun = 0

    async def run(self, on_ready: Callable[[Addresses], None]) -> None:
        """Until cancelled. Raises StreamerError if it cannot be served, or the log cannot be read."""
        async with AsyncExitStack() as stack:
            workshop = await asyncio.to_thread(Workshop, self._settings)
            stack.callback(workshop.close)
            served = serving(self._settings, self._hub, workshop, self._fleet, self._hello, self._fanout, self.routes)
            on_ready(await stack.enter_async_context(served))
            await self._player.run(self._publish, self._begin_again)

    @property
    def routes(self) -> tuple[Route, ...]:
        answers = ((200, Replayed),)
        return (
            Route("GET", "/api/replay", self.tell, "view", answers),
            Route("POST", "/api/replay", self.control, "control", answers, (400,), body={"application/json": Wish}),
        )

    async def tell(self, _request: web.Request) -> web.Response:
        """Where the replay is."""
        player = self._player
        position, start, end = map(rfc3339, (player.position, player.start, player.end))
        return json_answer(Replayed(position, start, end, player.speed, player.playing, player.streams))

    async def control(self, request: web.Request) -> web.Response:
        """Go elsewhere, faster or slower, stop or go on: for everybody who looks."""
        try:
            wish = msgspec.json.decode(await body(request), type=Wish)
            position = None if wish.position is None else datetime.fromisoformat(wish.position).timestamp()
        except (ValueError, OverflowError) as error:
            hint = 'send {"position": "2026-11-25T08:00:00Z", "speed": 2, "playing": true}, or some of it'
            raise ConfigError(f"the wish is not understood: {error}", hint) from None
        self._player.set(position=position, speed=wish.speed, playing=wish.playing)
        return await self.tell(request)

    async def _publish(self, record: Logged) -> None:
        head, seen = record.head, _seen(record.line)
        report = self._fleet.reports[head.stream]
        if head.type == "frame":
            analysed = head.status == "processed"
            report.processed += analysed
            message = Message(head.stream, record.line, "frame", head.seq or 0, not analysed, len(seen.faces))
        elif head.type == "track":
            message = Message(head.stream, record.line, "track")
        else:
            report.state = seen.state
            message = Message(head.stream, record.line)
        await self._hub.publish(message)

    def _begin_again(self) -> None:
        self._begun += 1
        self._hub.session = f"replay-{self._begun}"
        for name in self._player.streams:
            self._hub.forget(name)
        self._fanout.begin_again(self._hello())

    def _hello(self) -> bytes:
        states = {name: report.state for name, report in self._fleet.reports.items()}
        server = f"facestreamer {__version__}, replaying"
        return encode(HelloRecord(SCHEMA_VERSION, server, self._hub.session, list(states), states))


async def _no_results(_report: StreamReport) -> AsyncGenerator[FrameResult | StateChange, None]:
    return
    yield
