"""Records to websocket clients, live."""

import asyncio
import http
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from streamer.config import ServerSettings
from streamer.errors import OutputError
from streamer.flow import Hub, Slots

_log = logging.getLogger(__name__)
_SEND_TIMEOUT = 10.0  # seconds after which a client that does not read is closed
_BUFFER = 16 << 10  # bytes that may lie in a client's socket: more would be old news by the time it is read
_POLICY_VIOLATION = 1008
THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


@asynccontextmanager
async def push_server(hub: Hub, settings: ServerSettings, hello: Callable[[], bytes]) -> AsyncGenerator[int, None]:
    """Serves the hub's records to any number of websocket clients; gives the port. `hello` is each one's first message.

    A client has one slot a stream, so that a slow one skips records instead of delaying them for others.
    Raises OutputError if the port cannot be used.
    """

    async def client(connection: ServerConnection) -> None:
        with hub.subscribe() as slots:
            sending = asyncio.create_task(_send(connection, hello(), slots))
            try:
                async for _ in connection:  # clients have nothing to say yet, but closing is noticed here
                    continue
            except ConnectionClosed:
                _log.debug("a websocket client left without goodbye")
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)

    def check(connection: ServerConnection, request: Request) -> Response | None:
        headers = request.headers
        if origin_allowed(headers.get("Origin"), headers.get("Host", ""), settings.origins):
            return None
        return connection.respond(
            http.HTTPStatus.FORBIDDEN, "pages of this origin are not allowed: see [server] origins\n"
        )

    try:
        server = await serve(
            client,
            settings.host,
            settings.ws_port,
            process_request=check,
            compression=None,  # per client it would cost more than everything else together
            write_limit=_BUFFER,
            max_size=64 << 10,
            close_timeout=0.2,
            server_header="facestreamer",
        )
    except OSError as error:
        raise OutputError(
            f"websocket: {settings.host}:{settings.ws_port} cannot be used: {error.strerror}",
            "choose another --ws-port",
        ) from None
    try:
        yield next(iter(server.sockets)).getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


def origin_allowed(origin: str | None, host: str, allowed: tuple[str, ...]) -> bool:
    """Whether a request of a web page of `origin` may be served at `host` (as the request names it, with its port).

    Programs send no origin. A browser would let any page on the web connect to this machine.
    """
    if origin is None or "*" in allowed or origin in allowed:
        return True
    try:
        page, here = urlsplit(origin).hostname, urlsplit(f"//{host}").hostname
    except ValueError:
        return False
    return page is not None and page in (here, *THIS_MACHINE)


async def _send(connection: ServerConnection, hello: bytes, slots: Slots) -> None:
    try:
        await connection.send(hello, text=True)
        while True:
            for message in await slots.take():
                async with asyncio.timeout(_SEND_TIMEOUT):
                    await connection.send(message.data, text=True)
    except ConnectionClosed:
        return
    except TimeoutError:
        _log.info("a websocket client did not read for %g s and was closed", _SEND_TIMEOUT)
        await connection.close(_POLICY_VIOLATION, "does not read")
