"""Everything that can go wrong, as types. Each error has a `code` for programs, a message and a hint for people.

    StreamerError
    ├── ConfigError            the settings cannot be used (exit code 2)
    ├── ModelError             weights or devices
    │   ├── FetchError           no network, no such package, no pip
    │   ├── WrongHashError       what was fetched is not what the card names
    │   ├── StorageError         the cache cannot be written: full disk, rights
    │   └── DeviceError          OpenVINO cannot use the device
    ├── SourceError            a camera, file or stream
    │   ├── UnreachableError     nobody answers, name unknown, connection refused
    │   ├── UnauthorizedError    user or password missing or wrong
    │   ├── NotFoundError        no such file, device or stream path
    │   ├── SourceTimeoutError   connected, but no picture within the time allowed
    │   ├── NotVideoError        what is there holds no video that can be decoded
    │   ├── UnsupportedCodecError  it holds video of a kind that this FFmpeg does not know
    │   ├── CorruptError         the video is broken before its end
    │   └── DisconnectedError    a live stream ended
    ├── SubscriptionError      a websocket client asked for something that cannot be understood
    ├── UnknownStreamError     no stream of that name is in this run
    ├── NotRunningError        the run has not begun, or is over
    ├── NoTokenError           whoever asks must first show a token
    ├── ForbiddenError         not for whoever asked
    ├── PicturesOffError       the settings say that no picture is shown or written
    ├── NoPictureError         a stream has not delivered one yet
    ├── BusyError              so much is asked that this must come again later
    ├── PausedError            why a paused stream is offline
    ├── WorkerDiedError        the process that analysed a stream has ended by itself
    ├── PictureError           a still picture cannot be read
    ├── OutputError            a log or a port cannot be used
    └── LogError               a log cannot be read
        └── UnknownSchemaError   it was written by a newer version of this program

Messages never contain a password: they are redacted when the error is made.
"""

import re

_USERINFO = re.compile(r"\b([a-z][a-z0-9+.-]*://)\S*@", re.IGNORECASE)
_SECRET_VALUE = re.compile(
    r"([\w-]*(?:pass|pwd|token|secret|key|sig|auth|user|usr|login)[\w-]*=)[^&\s]*", re.IGNORECASE
)


def redact(text: str) -> str:
    """`text` with what looks like a user, password or token inside an address replaced by `***`."""
    return _SECRET_VALUE.sub(r"\1***", _USERINFO.sub(r"\1***@", text))


def redact_address(address: str) -> str:
    """One address without its user, password and tokens, whatever characters they hold."""
    scheme, found, rest = address.partition("://")
    if not found:
        return address
    _secret, at, place = rest.rpartition("@")
    return _SECRET_VALUE.sub(r"\1***", f"{scheme}://{'***@' if at else ''}{place}")


class StreamerError(Exception):
    """Base of all errors of this program.

    `message` says what happened, `hint` what to do about it; both are free of secrets.
    """

    code = "error"

    def __init__(self, message: str, hint: str = "") -> None:
        # File names may hold bytes that are no text; they must not break the log.
        self.message = redact(message.encode("utf-8", "replace").decode())
        self.hint = redact(hint.encode("utf-8", "replace").decode())
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class ConfigError(StreamerError):
    code = "badConfig"


class ModelError(StreamerError):
    code = "model"


class FetchError(ModelError):
    code = "fetchFailed"


class WrongHashError(ModelError):
    code = "wrongHash"


class StorageError(ModelError):
    code = "storage"


class DeviceError(ModelError):
    code = "device"


class SourceError(StreamerError):
    code = "source"


class UnreachableError(SourceError):
    code = "unreachable"


class UnauthorizedError(SourceError):
    code = "unauthorized"


class NotFoundError(SourceError):
    code = "notFound"


class SourceTimeoutError(SourceError):
    code = "timeout"


class NotVideoError(SourceError):
    code = "notVideo"


class UnsupportedCodecError(SourceError):
    code = "unsupportedCodec"


class CorruptError(SourceError):
    code = "corrupt"


class DisconnectedError(SourceError):
    code = "ended"


class SubscriptionError(StreamerError):
    code = "badSubscription"


class UnknownStreamError(StreamerError):
    code = "unknownStream"


class NotRunningError(StreamerError):
    code = "notRunning"


class NoTokenError(StreamerError):
    code = "noToken"


class ForbiddenError(StreamerError):
    code = "forbidden"


class PicturesOffError(StreamerError):
    code = "picturesOff"


class NoPictureError(StreamerError):
    code = "noPicture"


class BusyError(StreamerError):
    """`retry_after` is when to try again, in seconds."""

    code = "busy"

    def __init__(self, message: str, hint: str = "", *, retry_after: int = 1) -> None:
        super().__init__(message, hint)
        self.retry_after = retry_after


class PausedError(StreamerError):
    code = "paused"


class WorkerDiedError(StreamerError):
    code = "workerDied"


class PictureError(StreamerError):
    """A still picture cannot be read, or a request for one: `code` is `empty`, `notAPicture`, `corrupt`, `tooLarge`,
    `badRequest`, `unsupportedMediaType` or `uploadTimeout`.
    """

    def __init__(self, message: str, hint: str = "", *, code: str = "notAPicture") -> None:
        super().__init__(message, hint)
        self.code = code


class OutputError(StreamerError):
    code = "output"


class LogError(StreamerError):
    code = "log"


class UnknownSchemaError(LogError):
    code = "unknownSchema"
