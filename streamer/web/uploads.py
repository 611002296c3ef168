"""Pictures out of requests, in every form that clients send them."""

import base64
from typing import Any

import msgspec
from aiohttp import http_exceptions, web

from streamer.errors import PictureError

_FILE_FIELDS = ("filename", "file", "image")
_RESEND = "check how the client encodes its requests"
# What aiohttp raises, or asserts, while it takes a request's body apart.
_BROKEN = (
    ValueError,
    LookupError,
    RuntimeError,
    AssertionError,
    http_exceptions.HttpProcessingError,
    web.RequestPayloadError,
)


async def uploaded_picture(request: web.Request) -> bytes:
    """The encoded picture in a multipart form, a raw image body or JSON with base64.

    Names and paths that the client gives are never looked at. Raises PictureError, or aiohttp's 413.
    """
    kind = request.content_type
    if kind == "multipart/form-data":
        return await _from_form(request)
    if kind.startswith("image/") or kind == "application/octet-stream":
        return await body(request)
    if kind == "application/json":
        return _from_json(await body(request))
    raise PictureError(
        f"cannot take a picture out of {kind}",
        'send multipart/form-data with the file field `filename`, an image/* body, or JSON {"image": base64}',
        code="unsupportedMediaType",
    )


async def body(request: web.Request) -> bytes:
    """All of a request's body. Raises PictureError if it is broken, or aiohttp's 413."""
    try:
        return await request.read()
    except _BROKEN as error:
        raise PictureError(f"the body cannot be read: {error}", _RESEND, code="badRequest") from None


async def _from_form(request: web.Request) -> bytes:
    try:
        form = await request.post()
    except _BROKEN as error:
        raise PictureError(f"the form cannot be read: {error}", _RESEND, code="badRequest") from None
    for name in _FILE_FIELDS:
        field: Any = form.get(name)
        if isinstance(field, web.FileField):
            return field.file.read()
        if isinstance(field, bytes | bytearray):
            return bytes(field)
        if isinstance(field, str):
            raise PictureError(
                f"the field {name!r} holds text, not a file", "with curl: -F filename=@picture.jpg", code="badRequest"
            )
    raise PictureError(
        "the form has no file", f"use one of the file fields {', '.join(_FILE_FIELDS)}", code="badRequest"
    )


def _from_json(body: bytes) -> bytes:
    try:
        text = msgspec.json.decode(body, type=dict[str, Any]).get("image")
        if not isinstance(text, str):
            raise PictureError('the JSON has no text "image"', 'send {"image": "<base64>"}', code="badRequest")
        return base64.b64decode(text.rpartition("base64,")[2], validate=True)
    except (ValueError, RecursionError) as error:  # among them what msgspec and base64 raise
        raise PictureError(f"the JSON body cannot be read: {error}", _RESEND, code="badRequest") from None
