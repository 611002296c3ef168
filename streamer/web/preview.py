"""Live pictures for the dashboard, each with the `seq` of its record so that boxes never run ahead of it.

The viewer asks for one picture at a time: `{"want": {"<stream>": <max width>}}`. The answer comes as soon as a picture
newer than the last one is there: four bytes of length, a JSON header of that length, and a JPEG. A viewer that is slow
to ask just gets fewer.
"""

import asyncio
import logging
import time
from typing import Annotated

import msgspec
from aiohttp import WSMsgType, web

from streamer.access import origin_allowed
from streamer.errors import ForbiddenError, NoPictureError, WorkerDiedError
from streamer.face import Look, Shot
from streamer.flow import Hub, Message, Slots
from streamer.inference.runtime import Engine
from streamer.web.pictures import shown

_log = logging.getLogger(__name__)
_MOST_WISHES = 256


class _Wish(msgspec.Struct, forbid_unknown_fields=True):
    want: dict[str, Annotated[int, msgspec.Meta(ge=16, le=7680)]]


class _Viewer:
    """One dashboard: what it wants and what it has."""

    def __init__(self, socket: web.WebSocketResponse, slots: Slots, engine: Engine, session: str) -> None:
        self._socket = socket
        self._slots = slots
        self._engine = engine
        self._session = session
        self._wanted: dict[str, int] = {}
        self._newest: dict[str, Message] = {}
        self._shown: dict[str, int] = {}  # the number of each stream's last picture
        self._changed = asyncio.Event()

    async def receive(self) -> None:
        """Take wishes until the viewer leaves or says something else."""
        async for message in self._socket:
            if message.type is not WSMsgType.TEXT:
                break
            try:
                self._wanted |= msgspec.json.decode(message.data, type=_Wish).want
            except msgspec.DecodeError as error:
                await self._socket.close(code=1008, message=str(error).encode()[:120])
                break
            if len(self._wanted) > _MOST_WISHES:
                await self._socket.close(code=1008, message=b"too many wishes")
                break
            self._changed.set()

    async def collect(self) -> None:
        """Remember the newest analysed frame of each stream."""
        while True:
            for message in await self._slots.take():
                newer = message.seq > self._shown.get(message.stream, -1)
                if message.result is not None and not message.passed_over and newer:
                    self._newest[message.stream] = message
            self._changed.set()

    async def send(self) -> None:
        """Send what is wanted and new."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            for stream in [name for name in self._wanted if name in self._newest]:
                width, message = self._wanted.pop(stream), self._newest.pop(stream)
                try:
                    shot = await shown(message, Look(width=width), self._engine)
                except (NoPictureError, WorkerDiedError):  # the next will do
                    self._wanted.setdefault(stream, width)
                    continue
                self._shown[stream] = shot.seq
                await self._socket.send_bytes(_encode(stream, self._session, shot))


async def serve_preview(
    request: web.Request, hub: Hub, engine: Engine, session: str, origins: tuple[str, ...]
) -> web.WebSocketResponse:
    """A viewer's connection, from its first wish until it leaves. Pages of other origins are refused."""
    if not origin_allowed(request.headers.get("Origin"), request.host, origins):
        raise ForbiddenError("pages of this origin are not allowed", "see [server] origins")
    socket = web.WebSocketResponse(heartbeat=20, max_msg_size=16 << 10, compress=False)  # JPEG is compressed
    await socket.prepare(request)
    with hub.subscribe() as slots:
        viewer = _Viewer(socket, slots, engine, session)
        tasks = [asyncio.create_task(work()) for work in (viewer.collect, viewer.send)]
        try:
            await viewer.receive()
        finally:
            for task in tasks:
                task.cancel()
            for outcome in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(outcome, Exception) and not isinstance(outcome, ConnectionError):
                    _log.error("a preview failed", exc_info=outcome)
    return socket


def _encode(stream: str, session: str, shot: Shot) -> bytes:
    header = {
        "stream": stream,
        "session": session,
        "seq": shot.seq,
        "width": shot.width,
        "height": shot.height,
        "ageMs": round((time.monotonic() - shot.arrived) * 1000, 1),
    }
    head = msgspec.json.encode(header)
    return len(head).to_bytes(4, "big") + head + shot.jpeg
