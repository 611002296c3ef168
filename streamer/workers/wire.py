"""What the gateway and its workers say to each other: msgpack over a socket, each message behind its length.

Results go without pixels: those stay where they were decoded, and whoever wants to see one asks for a `Shot`. Of the
results of each run so many may be on their way, `WINDOW`, until the gateway has taken some: a worker whose gateway is
slow waits, as a stream in one process waits for the log.
"""

from asyncio import IncompleteReadError, StreamReader
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np

from streamer.config import Settings, StreamSettings
from streamer.contract import ErrorObject, State
from streamer.errors import NoPictureError, StreamerError
from streamer.face import FrameResult, Look, Shot
from streamer.media.source import Tally
from streamer.outputs.videowriter import VideoFile
from streamer.records import error_object

T = TypeVar("T")
WINDOW = 16
_LENGTH = 4  # bytes


class _Message(msgspec.Struct, frozen=True, eq=False, tag=True, array_like=True):
    pass


class Begin(_Message, frozen=True, eq=False):
    """The first one to a worker: what it is to be. Its records name `session`; `streams` are all of the run."""

    settings: Settings
    session: str
    streams: tuple[str, ...]
    log_level: int


class Start(_Message, frozen=True, eq=False):
    """Analyse a stream, in a run of this number; results go on with the numbers of frames and tracks given."""

    run: int
    name: str
    settings: StreamSettings
    next_seq: int
    next_track: int
    source: Tally


class Stop(_Message, frozen=True, eq=False):
    """End a run; `Over` answers."""

    run: int


class Taken(_Message, frozen=True, eq=False):
    """So many more results or changes of state of a run have been taken."""

    run: int
    count: int


class Ask(_Message, frozen=True, eq=False):
    """Show the newest picture of a stream; `Shown` of the same number answers."""

    number: int
    stream: str
    look: Look


class Close(_Message, frozen=True, eq=False):
    """Put everything in order and end; `Farewell` is the last word."""


class Ready(_Message, frozen=True, eq=False):
    """The models are loaded."""


class Failed(_Message, frozen=True, eq=False):
    """They cannot be loaded, or nothing can be written: the worker ends."""

    error: ErrorObject


class Result(_Message, frozen=True, eq=False):
    """A frame's record, encoded, and the result without its pixels."""

    run: int
    data: bytes
    result: FrameResult


class Changed(_Message, frozen=True, eq=False):
    """The stream is in another state."""

    run: int
    state: State
    at: float
    error: ErrorObject | None
    source: Tally


class Over(_Message, frozen=True, eq=False):
    """A run has ended, by itself, with an error, or because it was stopped."""

    run: int
    error: ErrorObject | None
    source: Tally


class Shown(_Message, frozen=True, eq=False):
    """A picture that was asked for; None: there is none."""

    number: int
    shot: Shot | None


class Beat(_Message, frozen=True, eq=False):
    """That the worker lives, and how it is doing: its sources by run, figures by name; and `Engine.precisions`."""

    sources: dict[int, Tally]
    figures: dict[str, float]
    precisions: dict[str, str]


class Said(_Message, frozen=True, eq=False):
    """A line for the log of the program."""

    logger: str
    level: int
    text: str


class Farewell(_Message, frozen=True, eq=False):
    """Everything is in order, up to an error; the videos that were written."""

    videos: list[VideoFile]
    error: ErrorObject | None


Order = Begin | Start | Stop | Taken | Ask | Close
Report = Ready | Failed | Result | Changed | Over | Shown | Beat | Said | Farewell


def packed(message: Order | Report) -> bytes:
    body = _encoder.encode(message)
    return len(body).to_bytes(_LENGTH, "big") + body


async def unpacked(reader: StreamReader, decoder: msgspec.msgpack.Decoder[T]) -> AsyncGenerator[T, None]:
    """Messages as they come, until the other end has closed or is dead; half a message at the end is nothing."""
    while True:
        try:
            length = int.from_bytes(await reader.readexactly(_LENGTH), "big")
            body = await reader.readexactly(length)
        except (IncompleteReadError, ConnectionError):
            return
        yield decoder.decode(body)


def told(error: StreamerError | None) -> ErrorObject | None:
    return None if error is None else error_object(error)


def revived(error: ErrorObject | None) -> StreamerError | None:
    """An error of the other process, with its code."""
    if error is None:
        return None
    copy = StreamerError(error.message, error.hint)
    copy.code = error.code
    return copy


def _pack(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.dtype.char, value.shape, value.tobytes()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    if callable(value):
        return None
    raise NotImplementedError(f"{type(value)} is not for the other process")


def _unpack(kind: Any, value: Any) -> Any:
    if value is None:
        return _elsewhere
    if kind is Path:
        return Path(value)
    char, shape, data = value
    return np.frombuffer(data, char).reshape(shape)


def _elsewhere() -> Any:
    """In the place of a frame's pixels. Raises NoPictureError."""
    raise NoPictureError("the picture is in the worker's process", "set workers = 0 for outputs that want pixels")


_encoder = msgspec.msgpack.Encoder(enc_hook=_pack)
ORDERS = msgspec.msgpack.Decoder(Order, dec_hook=_unpack)
REPORTS = msgspec.msgpack.Decoder(Report, dec_hook=_unpack)
