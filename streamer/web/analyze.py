"""`POST /analyze`: the faces in a picture that somebody sends."""

import asyncio
import time
from collections.abc import Sequence

from aiohttp import web

from streamer.access import Access
from streamer.contract import ImageAnswer, ImageSize, face_object
from streamer.inference.models import Models, Workshop
from streamer.media.pictures import decode_picture
from streamer.pipeline import analyse_picture
from streamer.web.answers import json_answer
from streamer.web.routes import Route, asker
from streamer.web.uploads import uploaded_picture


class Analyze:
    """The handlers of `/analyze`."""

    def __init__(self, workshop: Workshop, image_pipeline: str, access: Access, cors: Sequence[str]) -> None:
        self._workshop = workshop
        self._image_pipeline = image_pipeline
        self._access = access
        self._cors = frozenset(cors)
        self._stills: asyncio.Future[Models] | None = None

    @property
    def routes(self) -> tuple[Route, ...]:
        return (
            Route("POST", "/analyze", self.analyze, None),
            Route("OPTIONS", "/analyze", self.preflight, None),
        )

    async def analyze(self, request: web.Request) -> web.Response:
        """The faces in one picture."""
        start = time.perf_counter()
        form = request.content_type == "multipart/form-data"
        if not form or asker(request).secrets:
            self._access.check(asker(request), "view")
        data, keys = await uploaded_picture(request)
        self._access.check(asker(request, *keys), "view")
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
        return json_answer(answer)

    async def preflight(self, _request: web.Request) -> web.Response:
        """The answer to a browser that asks whether a page may post here."""
        return web.Response(status=204)

    async def add_cors(self, request: web.Request, response: web.StreamResponse) -> None:
        """To be called before any answer is sent: who may read those of this address."""
        if request.path != "/analyze" or not self._cors:
            return
        origin = "*" if "*" in self._cors else request.headers.get("Origin", "")
        if origin in self._cors:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Allow-Methods"] = "POST, OPTIONS"
            response.headers["Access-Control-Allow-Headers"] = "Content-Type, Authorization"
            response.headers["Access-Control-Max-Age"] = "86400"
        if "*" not in self._cors:
            response.headers["Vary"] = "Origin"

    async def _still_models(self) -> Models:
        """Loaded at the first request: a deployment that only streams never needs them."""
        if self._stills is None or (self._stills.done() and self._stills.exception()):
            loading = asyncio.to_thread(self._workshop.models, self._image_pipeline)
            self._stills = asyncio.ensure_future(loading)
        return await asyncio.shield(self._stills)


def _ms(start: float, end: float) -> float:
    return round((end - start) * 1000, 1)
