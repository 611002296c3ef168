"""Records of a running server in the terminal, or on a pipe: `streamer watch`."""

import asyncio
import random
import sys
from collections import deque
from collections.abc import AsyncGenerator
from urllib.parse import urlencode, urlsplit

import msgspec
from rich.markup import escape
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus, InvalidURI

from streamer.contract import (
    FaceObject,
    FrameRecord,
    GapRecord,
    HelloRecord,
    MissedRecord,
    StatusRecord,
    TrackRecord,
    decode_any,
)
from streamer.errors import ConfigError, SubscriptionError, UnauthorizedError, UnreachableError
from streamer.records import judged
from streamer.terminal import complain, out

_OPEN_TIMEOUT = 8.0  # seconds
_FIRST_WAIT, _LONGEST_WAIT = 0.25, 10.0  # seconds before another try
_POLICY_VIOLATION = 1008
_REMEMBERED = 500  # ended tracks: so many records a server that is asked what came after a frame has at most


async def watch(url: str, query: dict[str, str], token: str, *, pretty: bool) -> None:
    """Print every record that comes, as lines of JSON or for people, until cancelled. Raises StreamerError."""
    async for data in records(url, query, token):
        if pretty:
            out.print(shown(data), soft_wrap=True)
        else:
            sys.stdout.buffer.write(data + b"\n")
            sys.stdout.buffer.flush()


class _Numbers(msgspec.Struct):
    """What of a record tells where to go on; it may lack whatever was not asked for."""

    type: str
    stream: str = ""
    session: str = ""
    seq: int = -1
    track_id: int = msgspec.field(name="trackId", default=-1)


_numbers = msgspec.json.Decoder(_Numbers).decode


async def records(url: str, query: dict[str, str], token: str = "") -> AsyncGenerator[bytes, None]:
    """Encoded records of the server at `url`, for ever: a lost connection is opened again and goes on where it was.

    `query` is a subscription as in the README. Raises ConfigError for what is no address, UnauthorizedError,
    SubscriptionError.
    """
    url = url if "://" in url else f"ws://{url}"
    session, after, told, wait = "", dict[str, int](), False, _FIRST_WAIT
    ended = dict[str, deque[tuple[str, int]]]()  # the newest tracks of each stream
    while True:
        resume = (
            {"session": session, "after": ",".join(f"{name}:{seq}" for name, seq in after.items())} if after else {}
        )
        try:
            async with _connection(_with(url, query | resume), token) as socket:
                told, wait = False, _FIRST_WAIT
                async for message in socket:
                    data = message.encode() if isinstance(message, str) else message
                    record = _numbers(data)
                    if record.type == "frame":
                        session, after[record.stream] = record.session, record.seq
                    if record.type == "track" and _repeated(record, ended):
                        continue
                    yield data
        except (InvalidURI, InvalidStatus, ConnectionClosed) as error:
            _judge(url, error)
        except (OSError, TimeoutError, InvalidMessage) as error:
            if not told:
                told = True
                complain(UnreachableError(f"{url}: nobody answers: {error}", "it is tried again until somebody does"))
        await asyncio.sleep(wait * random.uniform(0.5, 1))
        wait = min(2 * wait, _LONGEST_WAIT)


def _repeated(record: _Numbers, ended: dict[str, deque[tuple[str, int]]]) -> bool:
    """Whether that track was told already, before a break; notes it if not."""
    track, known = (record.session, record.track_id), ended.setdefault(record.stream, deque(maxlen=_REMEMBERED))
    repeated = track in known
    if not repeated:
        known.append(track)
    return repeated


def _connection(address: str, token: str) -> connect:
    headers = {"Authorization": f"Bearer {token}"} if token else None
    return connect(address, additional_headers=headers, open_timeout=_OPEN_TIMEOUT, max_size=None)


def _judge(url: str, error: Exception) -> None:
    """Raise what trying again would not change."""
    if isinstance(error, InvalidURI):
        raise ConfigError(f"{url}: is no websocket's address", "such as ws://127.0.0.1:8765/") from None
    if isinstance(error, InvalidStatus) and error.response.status_code < 500:
        raise UnauthorizedError(f"{url}: the server refuses: {error}", "give its token with --token-env") from None
    if isinstance(error, ConnectionClosed) and error.rcvd and error.rcvd.code == _POLICY_VIOLATION:
        raise SubscriptionError(f"{url}: the server closed: {error.rcvd.reason}") from None


def _with(url: str, query: dict[str, str]) -> str:
    parts = urlsplit(url)
    return parts._replace(query="&".join(filter(None, [parts.query, urlencode(query)]))).geturl()


def shown(data: bytes) -> str:
    """An encoded record for people, in rich markup."""
    try:
        record = decode_any(data)
    except msgspec.ValidationError:  # of a type that a later program has added
        return f"[dim]{escape(data.decode())}[/]"
    if isinstance(record, HelloRecord):
        states = ", ".join(f"{name} {state}" for name, state in record.states.items())
        return f"[dim]{escape(record.server)}, session {record.session}: {escape(states)}[/]"
    if isinstance(record, MissedRecord):
        return f"[yellow]{escape(record.stream)}: missed {record.from_} to {record.to}[/]"
    if isinstance(record, FrameRecord):
        when = f"{record.time.captured[11:23]}  {escape(record.stream)}  #{record.seq}"
        if record.status == "skipped":
            return f"[dim]{when}  skipped: {record.reason}[/]"
        return f"{when}  {record.time.age_ms:.0f} ms  {'  '.join(map(_face, record.faces)) or '[dim]nobody[/]'}"
    if isinstance(record, TrackRecord):
        when = f"{record.last.captured[11:23]}  {escape(record.stream)}  #{record.last.seq}"
        seen = f"left after {record.seconds:.1f} s, {record.frames} frames"
        return f"[bold]{when}  {_person(record.track_id, record)}[/] {seen}"
    if isinstance(record, GapRecord):
        lost = ", ".join(f"{count} {kind}" for kind, count in record.counts.items())
        return f"[bold red]{record.since[11:23]}  {escape(record.stream)}  not recorded: {lost}: {record.reason}[/]"
    if not isinstance(record, StatusRecord):
        return f"[dim]{escape(data.decode())}[/]"
    reason = f": {record.error.message} ({record.error.hint})" if record.error else ""
    return f"[bold]{record.at[11:23]}  {escape(record.stream)}  {record.state}[/]{escape(reason)}"


def _face(face: FaceObject) -> str:
    return _person(face.track_id or None, face)


def _person(number: int | None, looks: FaceObject | TrackRecord) -> str:
    """Somebody's looks, as far as they were judged; those of a track at its best."""
    face = looks.best.face if isinstance(looks, TrackRecord) else looks
    emotions = {name: getattr(looks.emotions, name) for name in looks.emotions.__struct_fields__}
    top = max(emotions, key=lambda name: emotions[name])
    gender = looks.gender.value.lower() if judged(face, "gender") else ""
    age = str(looks.age) if judged(face, "age") else ""
    person = " ".join(filter(None, (gender, age))) or "person"
    feeling = f"{top} {emotions[top]:.0%}" if judged(face, "emotion") else ""
    return " ".join(filter(None, (f"#{number}" if number else "", f"[cyan]{person}[/]", feeling)))
