"""Pictures out of requests, in every form that clients send them."""

import asyncio
import base64
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from aiohttp import BodyPartReader, MultipartReader, http_exceptions, web

from streamer.config import ImageSettings
from streamer.errors import PictureError

FILE_FIELDS = ("filename", "file", "image")
KEY_FIELDS = ("access_key", "secret_key")
_MAX_BODY = 1 << 20  # bytes, of requests that carry no picture
_MOST_FIELDS = 128  # of a form
_MAX_TEXT = 4096  # bytes in a text field of a form
_CHUNK = 1 << 16  # bytes
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


class Options(msgspec.Struct, frozen=True):
    """How a picture is to be analysed: faces from `det_threshold` on, the surest `max_faces`, by a `pipeline`; what is
    not given is as configured.
    """

    det_threshold: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    max_faces: Annotated[int, msgspec.Meta(ge=1)] | None = None
    pipeline: Literal["accurate", "realtime"] | None = None


_OPTIONS = Options.__struct_fields__


class Upload(msgspec.Struct):
    """What a request brings: encoded pictures, its options as they were given, and keys that may be tokens."""

    pictures: list[bytes]
    options: dict[str, Any] = {}
    keys: list[str] = []


async def read_upload(request: web.Request, limits: ImageSettings) -> Upload:
    """The pictures in a multipart form, a raw image body or JSON with base64.

    Names and paths that the client gives are never looked at. Raises PictureError.
    """
    kind = request.content_type
    try:
        async with asyncio.timeout(limits.upload_timeout):
            if kind == "multipart/form-data":
                return await _from_form(request, limits.max_bytes)
            if kind.startswith("image/") or kind == "application/octet-stream":
                return Upload([await body(request, limits.max_bytes)])
            if kind == "application/json":
                return _from_json(await body(request, limits.max_bytes))
    except TimeoutError:
        raise PictureError(
            f"the body has not come within {limits.upload_timeout:g} s", "send it faster", code="uploadTimeout"
        ) from None
    raise PictureError(
        f"cannot take a picture out of {kind}",
        'send multipart/form-data with the file field `filename`, an image/* body, or JSON {"image": base64}',
        code="unsupportedMediaType",
    )


def read_options(query: Mapping[str, str], upload: Upload, limits: ImageSettings) -> Options:
    """What the query says, and over it the form or the JSON. Raises PictureError."""
    given = {key: query[key] for key in _OPTIONS if key in query} | upload.options
    try:
        options = msgspec.convert({k: v for k, v in given.items() if v not in ("", None)}, Options, strict=False)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at ")
        name = place.strip("`").removeprefix("$.")
        raise PictureError(f"{name}: {reason[0].lower()}{reason[1:]}", _OPTIONS_HINT, code="badRequest") from None
    if options.max_faces and options.max_faces > limits.max_faces:
        raise PictureError(f"max_faces: at most {limits.max_faces} here", _OPTIONS_HINT, code="badRequest")
    return options


_OPTIONS_HINT = "det_threshold is 0-1, max_faces a whole number from 1 on, pipeline accurate or realtime"


async def body(request: web.Request, limit: int = _MAX_BODY) -> bytes:
    """All of a request's body. Raises PictureError if it is broken, or longer than `limit` bytes."""
    if (request.content_length or 0) > limit:
        raise _too_large(limit)
    data = bytearray()
    try:
        async for chunk in request.content.iter_chunked(_CHUNK):
            data += chunk
            if len(data) > limit:
                raise _too_large(limit)
    except _BROKEN as error:
        raise _bad(f"the body cannot be read: {' '.join(str(error).split())}", _RESEND) from None
    return bytes(data)


async def _from_form(request: web.Request, limit: int) -> Upload:
    if (request.content_length or 0) > limit:
        raise _too_large(limit)
    upload = Upload([])
    try:
        form = await request.multipart()
        for _ in range(_MOST_FIELDS):
            part = await form.next()
            if part is None:
                break
            limit -= await _take(part, upload, limit)
        else:
            raise _bad(f"the form has more than {_MOST_FIELDS} fields", "send fewer")
    except _BROKEN as error:
        raise _bad(f"the form cannot be read: {' '.join(str(error).split())}", _RESEND) from None
    if not upload.pictures:
        raise _bad("the form has no file", f"use one of the file fields {', '.join(FILE_FIELDS)}")
    return upload


async def _take(part: MultipartReader | BodyPartReader, upload: Upload, limit: int) -> int:
    """Put one field of a form where it belongs; gives its size in bytes."""
    if isinstance(part, MultipartReader):
        raise _bad("the form holds another form", _RESEND)
    kind = part.headers.get("Content-Type", "")
    is_file = bool(part.filename) or not (kind == "" or kind.startswith("text/"))
    wanted = part.name in (*FILE_FIELDS, *KEY_FIELDS, *_OPTIONS)
    size, kept = 0, bytearray()
    while chunk := await part.read_chunk(_CHUNK):
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        if wanted:
            kept += chunk
    if part.name in FILE_FIELDS:
        if not is_file:
            raise _bad(f"the field {part.name!r} holds text, not a file", "with curl: -F filename=@picture.jpg")
        upload.pictures.append(_decoded(bytes(kept), part.headers.get("Content-Transfer-Encoding", "binary")))
    elif wanted and part.name:
        if len(kept) > _MAX_TEXT:
            raise _bad(f"the field {part.name!r} is too long", f"at most {_MAX_TEXT} bytes")
        text = kept.decode("utf-8", "replace")
        if part.name in KEY_FIELDS:
            upload.keys.append(text)
        else:
            upload.options.setdefault(part.name, text)
    return size


def _decoded(data: bytes, encoding: str) -> bytes:
    encoding = encoding.strip().lower()
    if encoding == "base64":
        return base64.b64decode(data)
    if encoding not in ("binary", "8bit", "7bit"):
        raise _bad(f"files cannot be taken as {encoding!r}", "send them as they are")
    return data


def _from_json(data: bytes) -> Upload:
    try:
        given = msgspec.json.decode(data, type=dict[str, Any])
        text = given.get("image")
        if not isinstance(text, str):
            raise PictureError('the JSON has no text "image"', 'send {"image": "<base64>"}', code="badRequest")
        picture = base64.b64decode(text.rpartition("base64,")[2], validate=True)
    except (ValueError, RecursionError) as error:  # among them what msgspec and base64 raise
        raise _bad(f"the JSON body cannot be read: {error}", _RESEND) from None
    return Upload([picture], {key: given[key] for key in _OPTIONS if key in given})


def _bad(message: str, hint: str) -> PictureError:
    return PictureError(message, hint, code="badRequest")


def _too_large(limit: int) -> PictureError:
    return PictureError("the body is too large", f"at most {limit} bytes are taken", code="tooLarge")
