"""The addresses of the HTTP server: who may ask for each, and what answers."""

from collections.abc import Iterable
from typing import Any

import msgspec
from aiohttp import web

from streamer.access import Access, Asker, secrets_in
from streamer.config import Role
from streamer.web.answers import Handler


class Route(msgspec.Struct, frozen=True):
    """One method of one address. `need` is what its sender must be allowed to do; None: nothing, or it is `guarded` by
    its handler. With `head` the method HEAD is answered, too.

    The rest describes it: `answers` by status, each a type or several or a JSON Schema, text that names media types,
    or None for nothing; the statuses of its `errors`; the struct of its `query`; its `body` by media type, a type or
    a JSON Schema.
    """

    method: str
    path: str
    handler: Handler
    need: Role | None
    answers: tuple[tuple[int, Any], ...] = ()
    errors: tuple[int, ...] = ()
    query: type[msgspec.Struct] | None = None
    body: dict[str, Any] = {}
    head: bool = True
    guarded: bool = False


def add_routes(router: web.UrlDispatcher, routes: Iterable[Route], access: Access) -> None:
    for route in routes:
        handler = route.handler if route.need is None else _guarded(route.handler, route.need, access)
        if route.method == "GET":
            router.add_get(route.path, handler, allow_head=route.head)
        else:
            router.add_route(route.method, route.path, handler)


def asker(request: web.Request, *more: str) -> Asker:
    """Who sends a request; `more` may be tokens, too."""
    secrets = secrets_in(request.headers.get("Authorization"), request.query.get("token"))
    return Asker(request.remote, request.host, request.headers.get("Origin"), (*secrets, *more))


def _guarded(handler: Handler, need: Role, access: Access) -> Handler:
    async def guarded(request: web.Request) -> web.StreamResponse:
        access.check(asker(request), need)
        return await handler(request)

    return guarded
