"""Records to websocket clients, live: who may connect, and what each is told first."""

import http
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from urllib.parse import parse_qsl, urlsplit

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from streamer.config import ServerSettings
from streamer.errors import OutputError, SubscriptionError
from streamer.flow import Hub
from streamer.outputs.fanout import Client, Fanout
from streamer.outputs.subscription import Subscription, from_message, from_query

_LARGEST_REQUEST = 64 << 10  # bytes
_POLICY_VIOLATION = 1008
THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


@asynccontextmanager
async def push_server(hub: Hub, settings: ServerSettings, hello: Callable[[], bytes]) -> AsyncGenerator[int, None]:
    """Serves the hub's records to any number of websocket clients; gives the port. `hello` is each one's first message.

    Raises OutputError if the port cannot be used.
    """
    fanout = Fanout(hub)

    async def client(connection: ServerConnection) -> None:
        try:
            await _serve(connection, hub, fanout, hello)
        except SubscriptionError as error:
            await connection.close(_POLICY_VIOLATION, str(error)[:120])
        except ConnectionClosed:
            pass  # clients come and go as they please

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
            max_size=_LARGEST_REQUEST,
            close_timeout=0.2,
            server_header="facestreamer",
        )
    except OSError as error:
        raise OutputError(
            f"websocket: {settings.host}:{settings.ws_port} cannot be used: {error.strerror}",
            "choose another --ws-port",
        ) from None
    try:
        with hub.attach(fanout):
            async with fanout.flushing():
                yield next(iter(server.sockets)).getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


async def _serve(connection: ServerConnection, hub: Hub, fanout: Fanout, hello: Callable[[], bytes]) -> None:
    """One client, until it leaves. Raises SubscriptionError for what is not understood."""
    request = connection.request
    wanted = from_query(dict(parse_qsl(urlsplit(request.path).query))) if request else Subscription()
    client = Client(connection, wanted)
    await connection.send(hello(), text=True)
    fanout.join(client)
    try:
        async for message in connection:
            client.subscribe(from_message(message))
            fanout.join(client)
    finally:
        fanout.leave(client)


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
