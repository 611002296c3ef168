"""The newest analysed picture of a stream as a JPEG, and all of them as they come as MJPEG."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

import msgspec
from aiohttp import web

from streamer.config import PrivacySettings
from streamer.errors import ConfigError, NoPictureError, WorkerDiedError
from streamer.face import Look, Shot
from streamer.fleet import Fleet, StreamReport
from streamer.flow import Hub, Message
from streamer.inference.runtime import Engine
from streamer.media.shots import render
from streamer.media.veil import no_pictures
from streamer.records import rfc3339
from streamer.web.routes import Route

_BOUNDARY = "frame"
_LOOK = 0.02  # seconds between two looks at a reader that is busy
_PATIENCE = 10.0  # seconds after which one that does not read is given up
_NOT_SENT = 16 << 10  # bytes that the kernel may hold for a reader before it counts as busy


class Pictures:
    """`frame.jpg` and `.mjpeg` of each stream."""

    def __init__(self, hub: Hub, fleet: Fleet, engine: Engine, privacy: PrivacySettings) -> None:
        self._hub = hub
        self._privacy = privacy
        self._fleet = fleet
        self._engine = engine

    @property
    def routes(self) -> tuple[Route, ...]:
        jpeg, mjpeg = ((200, "image/jpeg"),), ((200, "multipart/x-mixed-replace"),)
        path = "/api/streams/{name}/frame"
        return (
            Route("GET", f"{path}.jpg", self.newest, "view", jpeg, (400, 503), Look),
            Route("GET", f"{path}.mjpeg", self.all, "view", mjpeg, (400,), Look, head=False),
        )

    async def newest(self, request: web.Request) -> web.Response:
        """The newest picture that was analysed; its headers say which, and what state the stream is in."""
        look, report = self._asked(request)
        message = self._hub.frames.get(report.name)
        if message is None or message.result is None:
            raise NoPictureError(f"no picture of {report.name!r} has been analysed yet", "try again in a moment")
        shot = await shown(message, look, self._engine)
        headers = _headers(shot) | {"X-State": report.state, "Cache-Control": "no-store"}
        return web.Response(body=shot.jpeg, headers=headers, content_type="image/jpeg")

    async def all(self, request: web.Request) -> web.StreamResponse:
        """Each picture that is analysed, until the reader leaves or the stream ends; a slow one gets fewer."""
        look, report = self._asked(request)
        kind = f"multipart/x-mixed-replace; boundary={_BOUNDARY}"
        response = web.StreamResponse(headers={"Content-Type": kind, "Cache-Control": "no-store"})
        response.force_close()
        await response.prepare(request)
        with suppress(ConnectionError, TimeoutError):
            async with aclosing(self._shots(report.name, look, request)) as shots:
                async for shot in shots:
                    head = {"Content-Type": "image/jpeg", "Content-Length": str(len(shot.jpeg))} | _headers(shot)
                    lines = [f"--{_BOUNDARY}", *(f"{key}: {value}" for key, value in head.items()), "", ""]
                    async with asyncio.timeout(_PATIENCE):
                        await response.write("\r\n".join(lines).encode() + shot.jpeg + b"\r\n")
            await response.write(f"--{_BOUNDARY}--\r\n".encode())
        return response

    def _asked(self, request: web.Request) -> tuple[Look, StreamReport]:
        if not self._privacy.pictures:
            no_pictures()
        return _look(request), self._fleet.report(request.match_info["name"])

    async def _shots(self, name: str, look: Look, request: web.Request) -> AsyncGenerator[Shot, None]:
        """The newest picture whenever the reader is ready for one. Raises TimeoutError if it never is."""
        transport = request.transport
        if transport is None:
            return
        raw: socket.socket = transport.get_extra_info("socket")
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _NOT_SENT)
        newest = -1
        with self._hub.subscribe() as slots:
            while not transport.is_closing():
                async with asyncio.timeout(_PATIENCE):
                    while transport.get_write_buffer_size() > 0:  # noqa: ASYNC110  # nobody tells when that ends
                        await asyncio.sleep(_LOOK)
                messages = list[Message]()
                with suppress(TimeoutError):  # then look whether there is still a reader
                    async with asyncio.timeout(_PATIENCE):
                        messages = await slots.take()
                for message in messages:
                    if message.stream == name and message.result and not message.passed_over and message.seq > newest:
                        with suppress(NoPictureError, WorkerDiedError):  # there will be others
                            shot = await shown(message, look, self._engine)
                            newest = shot.seq
                            yield shot
                report = self._fleet.reports.get(name)
                if report is None or report.state == "ended":
                    return


async def shown(message: Message, look: Look, engine: Engine) -> Shot:
    """The picture of an analysed frame, or a newer one of its stream where the pixels are in another process. Raises
    NoPictureError, WorkerDiedError.
    """
    if message.shoot is not None:
        return await message.shoot(look)
    assert message.result is not None, "records out of a log have no picture"
    return await engine.offload(render, message.result, look)


def _headers(shot: Shot) -> dict[str, str]:
    return {"X-Seq": str(shot.seq), "X-Captured": rfc3339(shot.captured)}


def _look(request: web.Request) -> Look:
    """Raises ConfigError for what is none."""
    given = {key: request.query[key] for key in Look.__struct_fields__ if key in request.query}
    try:
        return msgspec.convert(given, Look, strict=False)
    except msgspec.ValidationError as error:
        hint = "such as ?overlay=1&blur=1&width=640&quality=80"
        raise ConfigError(f"the query is not understood: {error}", hint) from None
