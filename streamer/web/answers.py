"""Answers of the HTTP server: JSON, every failure in one form, and the headers that all of them carry."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from streamer.contract import ErrorAnswer, ErrorObject, encode
from streamer.errors import PictureError, StreamerError
from streamer.records import error_object

_log = logging.getLogger(__name__)
_STATUS = {
    "empty": 400,
    "badRequest": 400,
    "badConfig": 400,
    "source": 400,
    "noToken": 401,
    "forbidden": 403,
    "picturesOff": 403,
    "unknownStream": 404,
    "uploadTimeout": 408,
    "tooLarge": 413,
    "unsupportedMediaType": 415,
    "notAPicture": 415,
    "busy": 503,
}
_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def json_answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=encode(value), status=status, headers=headers, content_type="application/json")


def failure(error: StreamerError) -> web.Response:
    """The answer to a request that failed."""
    status = _STATUS.get(error.code, 422 if isinstance(error, PictureError) else 503)
    headers = {}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="facestreamer"'
    if status == 503:
        headers["Retry-After"] = str(getattr(error, "retry_after", 1))
    return json_answer(ErrorAnswer(error_object(error), []), status, headers)


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every failure as `{"error": {"code", "message", "hint"}, "faces": []}` with the right status."""
    try:
        return await handler(request)
    except StreamerError as error:
        return failure(error)
    except web.HTTPException as error:
        code = error.reason.title().replace(" ", "")
        problem = ErrorObject(code[0].lower() + code[1:], error.reason, "see /openapi.json for what there is")
        if error.status == 413:
            problem = ErrorObject("tooLarge", "the body is too large", "send less")
        allow = {key: value for key, value in error.headers.items() if key == "Allow"}
        return json_answer(ErrorAnswer(problem, []), error.status, allow)
    except ConnectionError:  # whoever asked has left
        return web.Response(status=400)
    except Exception:  # noqa: BLE001  # the client gets an answer, the log the traceback
        _log.exception("%s %s failed", request.method, request.path)
        problem = ErrorObject("internal", "the server failed on this request", "see its log")
        return json_answer(ErrorAnswer(problem, []), 500)


async def add_security_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """To be called before any answer is sent; a page has a policy of its own."""
    for name, value in _ALWAYS.items():
        response.headers.setdefault(name, value)
