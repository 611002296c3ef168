"""The HTTP server: `POST /analyze`, health, schema, streams, and the dashboard at `/`."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from streamer.config import ServerSettings
from streamer.contract import (
    ErrorAnswer,
    ErrorObject,
    ImageAnswer,
    ImageSize,
    encode,
    error_object,
    face_object,
    schema,
)
from streamer.errors import OutputError, PictureError, StreamerError
from streamer.fleet import Fleet
from streamer.flow import Hub
from streamer.inference.models import Models, Workshop
from streamer.media.pictures import decode_picture
from streamer.pipeline import analyse_picture
from streamer.web.preview import serve_preview
from streamer.web.streams import StreamHandlers
from streamer.web.uploads import uploaded_picture

_log = logging.getLogger(__name__)
_STATIC = Path(__file__).parent / "static"
_MAX_UPLOAD = 32 << 20  # bytes
_STATUS = {
    "empty": 400,
    "badRequest": 400,
    "badConfig": 400,
    "source": 400,
    "forbidden": 403,
    "unknownStream": 404,
    "tooLarge": 413,
    "unsupportedMediaType": 415,
    "notAPicture": 415,
}
_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, OPTIONS",
    "Access-Control-Allow-Headers": "Content-Type, Authorization",
    "Access-Control-Max-Age": "86400",
}
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; connect-src 'self' ws: wss:",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_HELPER = "facestream."  # the module for other pages, and its types
_FOR_ALL_PAGES = {"Access-Control-Allow-Origin": "*", "Content-Type": "text/javascript; charset=utf-8"}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class FaceServer:
    """The handlers. `info` tells the dashboard where things are, and the `session` of the records."""

    def __init__(
        self,
        hub: Hub,
        workshop: Workshop,
        image_pipeline: str,
        info: dict[str, Any],
        settings: ServerSettings,
        fleet: Fleet,
    ) -> None:
        self._hub = hub
        self._workshop = workshop
        self._image_pipeline = image_pipeline
        self._info = info
        self._origins = settings.origins
        self._streams = StreamHandlers(hub, fleet, settings)
        self._stills: asyncio.Future[Models] | None = None

    def application(self) -> web.Application:
        app = web.Application(client_max_size=_MAX_UPLOAD, middlewares=[_errors_as_json])
        app.router.add_post("/analyze", self.analyze)
        app.router.add_options("/analyze", self.preflight)
        app.router.add_get("/healthz", self.health)
        app.router.add_get("/schema.json", self.schema)
        app.router.add_get("/api/info", self.about)
        self._streams.add_to(app.router)
        app.router.add_get("/api/preview", self.preview)
        app.router.add_get("/", self.page)
        app.router.add_get("/{name:[a-z-]+[.](?:js|css|svg|d[.]ts)}", self.page)
        return app

    async def analyze(self, request: web.Request) -> web.Response:
        """The faces in one picture."""
        start = time.perf_counter()
        data = await uploaded_picture(request)
        received = time.perf_counter()
        pixels = await self._workshop.engine.offload(decode_picture, data)
        decoded = time.perf_counter()
        models = await self._still_models()
        faces = await analyse_picture(pixels, models)
        height, width = pixels.shape[:2]
        answer = ImageAnswer(
            faces=[face_object(face, width, height) for face in faces],
            image=ImageSize(width, height),
            timings={
                "receive": _ms(start, received),
                "decode": _ms(received, decoded),
                "analyse": _ms(decoded, time.perf_counter()),
            },
        )
        return _json(answer, headers=_CORS)

    async def preflight(self, _request: web.Request) -> web.Response:
        return web.Response(status=204, headers=_CORS)

    async def health(self, _request: web.Request) -> web.Response:
        return _json({"status": "ok"})

    async def schema(self, _request: web.Request) -> web.Response:
        return _json(schema())

    async def about(self, _request: web.Request) -> web.Response:
        return _json(self._info)

    async def preview(self, request: web.Request) -> web.WebSocketResponse:
        return await serve_preview(request, self._hub, self._workshop.engine, self._info["session"], self._origins)

    async def page(self, request: web.Request) -> web.StreamResponse:
        path = _STATIC / request.match_info.get("name", "index.html")
        if not path.is_file():
            raise web.HTTPNotFound
        headers = _PAGE_HEADERS | (_FOR_ALL_PAGES if path.name.startswith(_HELPER) else {})
        return web.FileResponse(path, headers=headers)

    async def _still_models(self) -> Models:
        """Loaded at the first request: a deployment that only streams never needs them."""
        if self._stills is None or (self._stills.done() and self._stills.exception()):
            loading = asyncio.to_thread(self._workshop.models, self._image_pipeline)
            self._stills = asyncio.ensure_future(loading)
        return await asyncio.shield(self._stills)


@asynccontextmanager
async def http_server(server: FaceServer, settings: ServerSettings) -> AsyncGenerator[int, None]:
    """Serves until the block is left; gives the port. Raises OutputError if the port cannot be used."""
    # The access log would write down query strings, and with them tokens.
    runner = web.AppRunner(server.application(), access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.host, settings.http_port)
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


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every failure as `{"error": {"code", "message", "hint"}, "faces": []}` with the right status."""
    cors = _CORS if request.path == "/analyze" else None  # other answers are no business of pages elsewhere
    try:
        return await handler(request)
    except web.HTTPException as error:
        code = error.reason.title().replace(" ", "")
        problem = ErrorObject(code[0].lower() + code[1:], error.reason, "see the README for what there is")
        if error.status == 413:
            limit = f"at most {_MAX_UPLOAD >> 20} MB are taken"
            problem = ErrorObject("tooLarge", "the upload is too large", limit)
        return _json(ErrorAnswer(problem, []), error.status, cors)
    except PictureError as error:
        return _json(ErrorAnswer(error_object(error), []), _STATUS.get(error.code, 422), cors)
    except StreamerError as error:
        return _json(ErrorAnswer(error_object(error), []), _STATUS.get(error.code, 503), cors)
    except Exception:  # noqa: BLE001  # the client gets an answer, the log the traceback
        _log.exception("%s %s failed", request.method, request.path)
        problem = ErrorObject("internal", "the server failed on this request", "see its log")
        return _json(ErrorAnswer(problem, []), 500, cors)


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=encode(value), status=status, headers=headers, content_type="application/json")


def _ms(start: float, end: float) -> float:
    return round((end - start) * 1000, 1)
