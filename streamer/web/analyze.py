"""`POST /analyze`: the faces in pictures that somebody sends."""

import asyncio
import time

from aiohttp import web

from streamer.access import Access
from streamer.config import Settings
from streamer.contract import BatchAnswer, ImageAnswer, ImageSize, PictureResult
from streamer.errors import PictureError
from streamer.inference.models import Models, Workshop
from streamer.media.pictures import decode_picture
from streamer.pipeline import analyse_picture
from streamer.records import error_object, face_object
from streamer.web.admission import Admission
from streamer.web.answers import json_answer
from streamer.web.routes import Route, asker
from streamer.web.uploads import FILE_FIELDS, KEY_FIELDS, Options, Upload, read_options, read_upload

_TEXT = {"type": "string"}
_BINARY = {"type": "string", "format": "binary"}
_FILES = {"type": "array", "items": _BINARY, "minItems": 1}
_OPTIONS = {
    "det_threshold": {"type": "number", "minimum": 0, "maximum": 1},
    "max_faces": {"type": "integer", "minimum": 1},
    "pipeline": {"enum": ["accurate", "realtime"]},
}
_BODIES = {
    "multipart/form-data": {
        "type": "object",
        "properties": dict.fromkeys(FILE_FIELDS, _FILES) | dict.fromkeys(KEY_FIELDS, _TEXT) | _OPTIONS,
        "anyOf": [{"required": [name]} for name in FILE_FIELDS],
    },
    "application/json": {
        "type": "object",
        "properties": {"image": {"type": "string", "contentEncoding": "base64"}} | _OPTIONS,
        "required": ["image"],
    },
    "application/octet-stream": _BINARY,
    "image/*": _BINARY,
}
_ANSWERS = ImageAnswer, BatchAnswer  # to one picture, to several


class Analyze:
    """The handlers of `/analyze`. `admission` tells how busy they are."""

    def __init__(self, settings: Settings, workshop: Workshop, access: Access) -> None:
        self.admission = Admission(settings.images.concurrency, settings.images.queue)
        self._limits = settings.images
        self._usual = settings.image_pipeline
        self._workshop = workshop
        self._access = access
        self._cors = frozenset(settings.server.cors)
        self._models: dict[str, asyncio.Future[Models]] = {}

    @property
    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                "POST",
                "/analyze",
                self.analyze,
                None,
                answers=((200, _ANSWERS),),
                errors=(400, 408, 413, 415, 422, 503),
                query=Options,
                body=_BODIES,
                guarded=True,
            ),
            Route("OPTIONS", "/analyze", self.preflight, None, answers=((204, None),)),
        )

    async def analyze(self, request: web.Request) -> web.Response:
        """The faces in one picture, or in each of several."""
        start = time.perf_counter()
        with self.admission.entered():
            upload = await self._received(request)
            options = read_options(request.query, upload, self._limits)
            receive = _ms(start)
            if len(upload.pictures) == 1:
                return json_answer(await self._one(upload.pictures[0], options, receive))
            results: list[PictureResult] = []
            for picture in upload.pictures:
                try:
                    answer = await self._one(picture, options, receive)
                    results.append(PictureResult(answer.faces, answer.image, answer.timings))
                except PictureError as error:
                    results.append(PictureResult([], error=error_object(error)))
            return json_answer(BatchAnswer(results))

    async def preflight(self, _request: web.Request) -> web.Response:
        """What a browser asks before a page elsewhere may post here."""
        return web.Response(status=204)

    async def add_cors(self, request: web.Request, response: web.StreamResponse) -> None:
        """To be called before any answer is sent: which pages may read those of this address."""
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

    async def _received(self, request: web.Request) -> Upload:
        """What was sent, by somebody who may. Only a form may have its token inside; else nothing is read before."""
        if request.content_type != "multipart/form-data" or asker(request).secrets:
            self._access.check(asker(request), "view")
        upload = await read_upload(request, self._limits)
        self._access.check(asker(request, *upload.keys), "view")
        return upload

    async def _one(self, picture: bytes, options: Options, receive: float) -> ImageAnswer:
        models = await self._loaded(options.pipeline or self._usual)
        async with self.admission.turn():
            start = time.perf_counter()
            pixels = await self._workshop.engine.offload(
                decode_picture, picture, "the picture", self._limits.max_pixels
            )
            decode, begun = _ms(start), time.perf_counter()
            most = options.max_faces or self._limits.max_faces
            faces = await analyse_picture(pixels, models, options.det_threshold, most)
        height, width = pixels.shape[:2]
        return ImageAnswer(
            faces=[face_object(face, width, height) for face in faces],
            image=ImageSize(width, height),
            timings={"receive": receive, "decode": decode, "analyse": _ms(begun)},
        )

    async def _loaded(self, pipeline: str) -> Models:
        """Loaded at the first request: a deployment that only streams never needs them."""
        known = self._models.get(pipeline)
        if known is None or (known.done() and known.exception()):
            known = asyncio.ensure_future(asyncio.to_thread(self._workshop.models, pipeline))
            self._models[pipeline] = known
        return await asyncio.shield(known)


def _ms(start: float) -> float:
    return round((time.perf_counter() - start) * 1000, 1)
