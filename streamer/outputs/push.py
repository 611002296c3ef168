"""Records to websocket clients, live: who may connect, and what each is told first."""

import http
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from urllib.parse import parse_qsl, urlsplit

from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import MultipleValuesError
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from streamer.access import Access, Asker, origin_allowed, secrets_in, tls_context
from streamer.config import ServerSettings
from streamer.errors import ForbiddenError, NoTokenError, OutputError, SubscriptionError
from streamer.flow import Hub
from streamer.outputs.fanout import Client, Fanout
from streamer.outputs.subscription import Subscription, from_message, from_query

_LARGEST_REQUEST = 64 << 10  # bytes
_POLICY_VIOLATION = 1008


@asynccontextmanager
async def push_server(
    hub: Hub, settings: ServerSettings, hello: Callable[[], bytes], fanout: Fanout | None = None
) -> AsyncGenerator[int, None]:
    """Serves the hub's records to any number of websocket clients; gives the port. `hello` is each one's first message;
    `fanout` may be given to see them from outside.

    Raises OutputError if the port cannot be used, ConfigError for settings that must not be served.
    """
    fanout = fanout or Fanout(hub)
    access, tls = Access(settings), tls_context(settings)

    async def client(connection: ServerConnection) -> None:
        try:
            if connection.request is not None:
                access.check(_asker(connection, connection.request), "view")
            await _serve(connection, hub, fanout, hello)
        except (SubscriptionError, NoTokenError) as error:
            await connection.close(_POLICY_VIOLATION, str(error)[:120])
        except ConnectionClosed:
            pass  # clients come and go as they please

    def check(connection: ServerConnection, request: Request) -> Response | None:
        return _refusal(connection, request, access, settings.origins)

    try:
        server = await serve(
            client,
            settings.host,
            settings.ws_port,
            process_request=check,
            ssl=tls,
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


def _refusal(
    connection: ServerConnection, request: Request, access: Access, origins: tuple[str, ...]
) -> Response | None:
    """The answer to somebody who may not connect."""
    try:
        asker = _asker(connection, request)
        if not origin_allowed(asker.origin, asker.host, origins):
            raise ForbiddenError("pages of this origin are not allowed", "see [server] origins")
        access.check(asker, "view")
    except NoTokenError as error:
        if "Origin" in request.headers:  # a browser tells its page only how a connection ends, and that must begin
            return None
        response = connection.respond(http.HTTPStatus.UNAUTHORIZED, f"{error}\n")
        response.headers["WWW-Authenticate"] = 'Bearer realm="facestreamer"'
        return response
    except ForbiddenError as error:
        return connection.respond(http.HTTPStatus.FORBIDDEN, f"{error}\n")
    return None


def _asker(connection: ServerConnection, request: Request) -> Asker:
    """Raises ForbiddenError for headers that make no sense."""
    headers, query = request.headers, dict(parse_qsl(urlsplit(request.path).query))
    try:
        secrets = secrets_in(headers.get("Authorization"), query.get("token"))
        host, origin = headers.get("Host", ""), headers.get("Origin")
    except MultipleValuesError as error:
        raise ForbiddenError(f"the header {error} is there more than once", "send it once") from None
    remote = connection.remote_address
    return Asker(remote[0] if remote else None, host, origin, secrets)


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
