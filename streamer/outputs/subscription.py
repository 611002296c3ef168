"""What a websocket client wants of the records, and the form in which it gets them."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from streamer.contract import encode
from streamer.errors import SubscriptionError
from streamer.flow import Message
from streamer.records import frame_record

_ALWAYS = frozenset({"type", "schema", "stream", "session", "seq", "status"})

Count = Annotated[int, msgspec.Meta(ge=0)]


class Subscription(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """`streams` None: all. At most `max_fps` frame records a second of each, 0: all; with `faces_only` only those with
    faces. Of `fields` None all are kept; `faces.age` keeps a key of the faces. `session` and `after` resume: the
    records of each stream after the number `after` says come first.
    """

    streams: frozenset[str] | None = None
    max_fps: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    fields: frozenset[str] | None = None
    faces_only: bool = False
    raw: bool = False
    session: str = ""
    after: dict[str, Count] = {}

    @property
    def form(self) -> "Form":
        return Form(self.fields, self.raw)

    def wants(self, message: Message) -> bool:
        if self.streams is not None and message.stream not in self.streams:
            return False
        return not message.is_frame or not self.faces_only or bool(message.faces)


class _Request(msgspec.Struct, forbid_unknown_fields=True):
    subscribe: Subscription


def from_message(text: str | bytes) -> Subscription:
    """`{"subscribe": {...}}`. Raises SubscriptionError."""
    try:
        return msgspec.json.decode(text, type=_Request).subscribe
    except msgspec.DecodeError as error:
        raise SubscriptionError(f"not understood: {error}", 'send {"subscribe": {"streams": ["door"]}}') from None


def from_query(query: Mapping[str, str]) -> Subscription:
    """The same out of a query string, `?streams=door,yard&maxFps=5`; other keys are ignored. Raises the same."""
    raw: dict[str, Any] = {}
    try:
        for key in ("streams", "fields"):
            if query.get(key):
                raw[key] = query[key].split(",")
        for key in ("facesOnly", "raw"):
            if key in query:
                raw[key] = query[key] not in ("0", "false")
        if "maxFps" in query:
            raw["maxFps"] = float(query["maxFps"])
        if "session" in query:
            raw["session"] = query["session"]
        if query.get("after"):
            pairs = [pair.rpartition(":") for pair in query["after"].split(",")]
            raw["after"] = {name: int(seq) for name, _, seq in pairs}
        return msgspec.convert(raw, Subscription)
    except (ValueError, msgspec.ValidationError) as error:
        raise SubscriptionError(
            f"the query is not understood: {error}", "such as ?streams=door,yard&maxFps=5"
        ) from None


class Form(msgspec.Struct, frozen=True):
    """Which parts of a record are sent. Clients of one form are sent the very same bytes."""

    fields: frozenset[str] | None = None
    raw: bool = False

    def of(self, message: Message, session: str) -> bytes:
        """The record of `message`, encoded."""
        if self.raw and message.result is not None:
            return self.cut(encode(frame_record(message.result, message.stream, session, raw=True)))
        return self.cut(message.data)

    def cut(self, data: bytes) -> bytes:
        """An encoded record without what was not asked for."""
        if self.fields is None:
            return data
        record: dict[str, Any] = msgspec.json.decode(data)
        if record["type"] != "frame":
            return data
        kept = {key: value for key, value in record.items() if key in _ALWAYS or key in self.fields}
        of_faces = {field.removeprefix("faces.") for field in self.fields if field.startswith("faces.")}
        if of_faces and "faces" not in self.fields:
            kept["faces"] = [{key: face[key] for key in face if key in of_faces} for face in record["faces"]]
        return encode(kept)


def with_skipped(data: bytes, skipped: int) -> bytes:
    """An encoded record that says how many before it its receiver did not get."""
    return data[:-1] + b',"skipped":%d}' % skipped if skipped else data
