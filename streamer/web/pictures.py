"""The newest analysed picture of a stream as a JPEG, and all of them as they come as MJPEG."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Annotated

import msgspec
from aiohttp import web

from streamer.config import PrivacySettings
from streamer.errors import ConfigError, NoPictureError
from streamer.face import FrameResult
from streamer.fleet import Fleet, StreamReport
from streamer.flow import Hub, Message
from streamer.inference.runtime import Engine
from streamer.media.overlay import draw, pixelate
from streamer.media.pictures import encode_jpeg, shrunk
from streamer.media.veil import no_pictures
from streamer.records import rfc3339
from streamer.web.routes import Route

_BOUNDARY = "frame"
_LOOK = 0.02  # seconds between two looks at a reader that is busy
_PATIENCE = 10.0  # seconds after which one that does not read is given up
_NOT_SENT = 16 << 10  # bytes that the kernel may hold for a reader before it counts as busy


class Wish(msgspec.Struct, frozen=True):
    """How a picture is wanted: with boxes and labels, with faces made unrecognisable, at most so wide."""

    overlay: bool = False
    blur: bool = False
    width: Annotated[int, msgspec.Meta(ge=16, le=7680)] = 7680
    quality: Annotated[int, msgspec.Meta(ge=1, le=100)] = 80


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
            Route("GET", f"{path}.jpg", self.newest, "view", jpeg, (400, 503), Wish),
            Route("GET", f"{path}.mjpeg", self.all, "view", mjpeg, (400,), Wish, head=False),
        )

    async def newest(self, request: web.Request) -> web.Response:
        """The newest picture that was analysed; its headers say which, and what state the stream is in."""
        wish, report = self._asked(request)
        message = self._hub.frames.get(report.name)
        if message is None or message.result is None:
            raise NoPictureError(f"no picture of {report.name!r} has been analysed yet", "try again in a moment")
        data = await self._engine.offload(render, message.result, wish)
        headers = _headers(message.result) | {"X-State": report.state, "Cache-Control": "no-store"}
        return web.Response(body=data, headers=headers, content_type="image/jpeg")

    async def all(self, request: web.Request) -> web.StreamResponse:
        """Each picture that is analysed, until the reader leaves or the stream ends; a slow one gets fewer."""
        wish, report = self._asked(request)
        kind = f"multipart/x-mixed-replace; boundary={_BOUNDARY}"
        response = web.StreamResponse(headers={"Content-Type": kind, "Cache-Control": "no-store"})
        response.force_close()
        await response.prepare(request)
        with suppress(ConnectionError, TimeoutError):
            async with aclosing(self._results(report.name, request)) as results:
                async for result in results:
                    data = await self._engine.offload(render, result, wish)
                    head = {"Content-Type": "image/jpeg", "Content-Length": str(len(data))} | _headers(result)
                    lines = [f"--{_BOUNDARY}", *(f"{key}: {value}" for key, value in head.items()), "", ""]
                    async with asyncio.timeout(_PATIENCE):
                        await response.write("\r\n".join(lines).encode() + data + b"\r\n")
            await response.write(f"--{_BOUNDARY}--\r\n".encode())
        return response

    def _asked(self, request: web.Request) -> tuple[Wish, StreamReport]:
        if not self._privacy.pictures:
            no_pictures()
        return _wish(request), self._fleet.report(request.match_info["name"])

    async def _results(self, name: str, request: web.Request) -> AsyncGenerator[FrameResult, None]:
        """The newest result whenever the reader is ready for one. Raises TimeoutError if it never is."""
        transport = request.transport
        if transport is None:
            return
        raw: socket.socket = transport.get_extra_info("socket")
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _NOT_SENT)
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
                    if message.stream == name and message.result and not message.passed_over:
                        yield message.result
                report = self._fleet.reports.get(name)
                if report is None or report.state == "ended":
                    return


def render(result: FrameResult, wish: Wish) -> bytes:
    """The picture of a result as it is wanted, as JPEG."""
    pixels = result.frame.pixels()
    if wish.blur:
        pixels = pixelate(pixels, result.faces)
    pixels = shrunk(pixels, wish.width)
    if wish.overlay:
        pixels = draw(pixels, result.faces, pixels.shape[1] / result.frame.width)
    return encode_jpeg(pixels, wish.width, wish.quality)


def _headers(result: FrameResult) -> dict[str, str]:
    return {"X-Seq": str(result.frame.seq), "X-Captured": rfc3339(result.frame.captured)}


def _wish(request: web.Request) -> Wish:
    """Raises ConfigError for what is none."""
    given = {key: request.query[key] for key in Wish.__struct_fields__ if key in request.query}
    try:
        return msgspec.convert(given, Wish, strict=False)
    except msgspec.ValidationError as error:
        hint = "such as ?overlay=1&blur=1&width=640&quality=80"
        raise ConfigError(f"the query is not understood: {error}", hint) from None
