"""The HTTP server: `POST /analyze`, health, schema, streams, and the dashboard at `/`."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from streamer.access import Access, tls_context
from streamer.config import ServerSettings, Settings
from streamer.contract import schema
from streamer.errors import OutputError
from streamer.fleet import Fleet
from streamer.flow import Hub
from streamer.inference.models import Workshop
from streamer.media.veil import no_pictures
from streamer.outputs.fanout import Fanout
from streamer.web.analyze import Analyze
from streamer.web.answers import add_security_headers, errors_as_json, json_answer
from streamer.web.metrics import Metrics
from streamer.web.openapi import openapi
from streamer.web.pictures import Pictures
from streamer.web.preview import serve_preview
from streamer.web.routes import Route, add_routes, asker
from streamer.web.streams import StreamHandlers

_STATIC = Path(__file__).parent / "static"
_LINGERING = 1.0  # seconds in which a client that still sends may notice that it was answered
_OBJECT = {"type": "object"}
_KINDS = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".ts": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
}
_PAGE_FILES = ", ".join(dict.fromkeys(_KINDS.values()))
_HELPER = "facestream."  # the module for other pages, and its types
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; connect-src 'self' ws: wss:; "
    "base-uri 'none'; form-action 'self'; object-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-cache",
}


class FaceServer:
    """The handlers. `info` tells the dashboard where things are, and the `session` of the records."""

    def __init__(
        self,
        settings: Settings,
        hub: Hub,
        fleet: Fleet,
        fanout: Fanout,
        workshop: Workshop,
        info: dict[str, Any],
        more: tuple[Route, ...] = (),
    ) -> None:
        """`more` are addresses beside those of every run. Raises ConfigError for settings that must not be served."""
        self._more = more
        self._settings = settings.server
        self._privacy = settings.privacy
        self._access = Access(settings.server)
        self._hub = hub
        self._fleet = fleet
        self._workshop = workshop
        self._info = info
        self._analyze = Analyze(settings, workshop, self._access)
        self._metrics = Metrics(hub, fleet, workshop.engine, fanout, self._analyze.admission)

    @property
    def routes(self) -> tuple[Route, ...]:
        return (
            *self._analyze.routes,
            *StreamHandlers(self._hub, self._fleet).routes,
            *Pictures(self._hub, self._fleet, self._workshop.engine, self._privacy).routes,
            *self._metrics.routes,
            *self._more,
            Route("GET", "/api/info", self.about, "view", ((200, _OBJECT),)),
            Route("GET", "/api/preview", self.preview, "view", ((101, None),), (400,), head=False),
            Route("GET", "/schema.json", self.schema, "view", ((200, _OBJECT),)),
            Route("GET", "/openapi.json", self.openapi, "view", ((200, _OBJECT),)),
            Route("GET", "/healthz", self.health, None, ((200, _OBJECT),)),
            Route("GET", "/", self.page, None, ((200, "text/html"),)),
            Route(
                "GET",
                "/{name:[a-z-]+[.](?:js|css|svg|d[.]ts)}",
                self.page,
                None,
                ((200, _PAGE_FILES),),
            ),
        )

    def application(self) -> web.Application:
        app = web.Application(middlewares=[errors_as_json])
        app.on_response_prepare.append(add_security_headers)
        app.on_response_prepare.append(self._analyze.add_cors)
        app.cleanup_ctx.append(self._counting)
        add_routes(app.router, self.routes, self._access)
        return app

    async def _counting(self, _app: web.Application) -> AsyncGenerator[None, None]:
        with self._hub.attach(self._metrics):
            yield

    async def health(self, _request: web.Request) -> web.Response:
        """That the server lives."""
        return json_answer({"status": "ok"})

    async def schema(self, _request: web.Request) -> web.Response:
        """The JSON Schema of all records."""
        return json_answer(schema())

    async def openapi(self, _request: web.Request) -> web.Response:
        """This description of all addresses."""
        return json_answer(openapi(self.routes, tokens=bool(self._settings.tokens) and not self._settings.anonymous))

    async def about(self, request: web.Request) -> web.Response:
        """Where things are, what the sender may do (`role` is view or control), and the settings of `privacy`."""
        role = self._access.role(asker(request))
        control = role == "control" and self._settings.control
        return json_answer(self._info | {"role": "control" if control else "view", "privacy": self._privacy})

    async def preview(self, request: web.Request) -> web.WebSocketResponse:
        """A websocket of live pictures."""
        if not self._privacy.pictures:
            no_pictures()
        origins = self._settings.origins
        return await serve_preview(request, self._hub, self._workshop.engine, self._info["session"], origins)

    async def page(self, request: web.Request) -> web.StreamResponse:
        """The dashboard's files."""
        path = _STATIC / request.match_info.get("name", "index.html")
        if not path.is_file():
            raise web.HTTPNotFound
        # Named here: what the machine knows of file types differs, and with nosniff a script must be said to be one.
        headers = _PAGE_HEADERS | {"Content-Type": f"{_KINDS[path.suffix]}; charset=utf-8"}
        if path.name.startswith(_HELPER):
            headers["Access-Control-Allow-Origin"] = "*"
        return web.FileResponse(path, headers=headers)


@asynccontextmanager
async def http_server(server: FaceServer, settings: ServerSettings) -> AsyncGenerator[int, None]:
    """Serves until the block is left; gives the port. Raises OutputError if the port cannot be used."""
    tls = tls_context(settings)
    # The access log would write down query strings, and with them tokens.
    runner = web.AppRunner(server.application(), access_log=None, shutdown_timeout=0.2, lingering_time=_LINGERING)
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.host, settings.http_port, ssl_context=tls)
        try:
            await site.start()
        except OSError as error:
            raise OutputError(
                f"http: {settings.host}:{settings.http_port} cannot be used: {error.strerror}",
                "choose another --http-port",
            ) from None
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
