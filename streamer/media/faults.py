"""FFmpeg's errors -> ours."""

import av

from streamer.errors import (
    CorruptError,
    NotFoundError,
    NotVideoError,
    SourceError,
    SourceTimeoutError,
    UnauthorizedError,
    UnreachableError,
    UnsupportedCodecError,
)

_CHECK_ADDRESS = "check the address and the port, and that the camera is on"

_KINDS: tuple[tuple[tuple[type[BaseException], ...], type[SourceError], str, str], ...] = (
    (
        (av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError),
        UnauthorizedError,
        "user or password is wrong or missing",
        "set `user` and `password` of the stream",
    ),
    (
        (av.error.HTTPNotFoundError, FileNotFoundError),
        NotFoundError,
        "there is no such stream",
        "check the path after the host name in the camera's manual",
    ),
    (
        (av.error.ExitError, TimeoutError),
        SourceTimeoutError,
        "no answer in time",
        "is the camera busy, or a firewall in between? `open_timeout` and `stall` set how long to wait",
    ),
    ((ConnectionRefusedError,), UnreachableError, "the connection was refused", _CHECK_ADDRESS),
    ((PermissionError,), UnauthorizedError, "this user may not read it", "check the rights of the file or device"),
    (
        (av.error.DecoderNotFoundError,),
        UnsupportedCodecError,
        "its video codec is not known to this FFmpeg",
        "set the camera to H.264 or H.265",
    ),
    (
        (av.error.InvalidDataError, av.error.DemuxerNotFoundError),
        NotVideoError,
        "holds no video that can be decoded",
        "is it the right file or stream, and is it complete?",
    ),
    ((ConnectionError,), UnreachableError, "the connection was lost", _CHECK_ADDRESS),
)


def typed(error: BaseException, url: str) -> SourceError:
    """The error for people and programs that FFmpeg's `error` on `url` stands for."""
    for kinds, result, what, hint in _KINDS:
        if isinstance(error, kinds):
            return result(f"{url}: {what}", hint)
    detail = getattr(error, "strerror", None) or str(error)
    if isinstance(error, av.error.HTTPError):
        return SourceError(f"{url}: the server refused: {detail}", "see the server's log")
    if isinstance(error, OSError):
        return UnreachableError(f"{url}: cannot be reached: {detail}", _CHECK_ADDRESS)
    return CorruptError(f"{url}: {detail}")
