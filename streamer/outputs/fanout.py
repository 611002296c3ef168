"""One record to a thousand websocket clients: encoded once, sent to all who can take it, and never old for the others.

Nothing is buffered for a client whose last message is still on its way: newer records replace the older of their
stream, as in `flow.Slots`, and what it missed is counted. So a client that reads slowly costs one record a stream.
"""

import asyncio
import logging
import math
import socket
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import asynccontextmanager

from websockets.asyncio.server import ServerConnection, broadcast

from streamer.analysis.pace import Pace
from streamer.contract import SCHEMA_VERSION, MissedRecord, encode
from streamer.flow import Hub, Message
from streamer.outputs.subscription import Form, Subscription, with_skipped

_log = logging.getLogger(__name__)
_NOT_SENT = 16 << 10  # bytes that the kernel may hold for a client before it counts as busy
_FLUSH = 0.02  # seconds between two looks at busy clients
_TOO_MUCH = 1 << 20  # bytes that only a client which floods with pings and never reads lets pile up
_PATIENCE = 10.0  # seconds after which a client that does not read is closed
_MOST_OTHERS = 1000  # changes of state and ended tracks that may wait for a client: a cut ends a whole crowd at once
_POLICY_VIOLATION = 1008


class Client:
    """One connection, what it wants, and what waits for it."""

    def __init__(self, connection: ServerConnection, wanted: Subscription) -> None:
        self.connection = connection
        self.subscribe(wanted)
        self.past: deque[bytes] = deque()
        self.frames: dict[str, Message] = {}
        self.others: deque[Message] = deque()
        self.skipped: dict[str, int] = {}
        self.busy_since: float | None = None
        raw: socket.socket = connection.transport.get_extra_info("socket")
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _NOT_SENT)

    def subscribe(self, wanted: Subscription) -> None:
        self.wanted = wanted
        self.form = wanted.form
        self._paces: dict[str, Pace] = {}

    @property
    def waiting(self) -> bool:
        return bool(self.past or self.frames or self.others)

    @property
    def busy(self) -> bool:
        """Whether something that was sent to it is still on its way."""
        return self.connection.transport.get_write_buffer_size() > 0

    def wants(self, message: Message, now: float) -> bool:
        if not self.wanted.wants(message):
            return False
        if not message.is_frame or not self.wanted.max_fps:
            return True
        pace = self._paces.setdefault(message.stream, Pace(1 / self.wanted.max_fps))
        return pace.due(now)

    def keep(self, message: Message) -> None:
        """For later: in the place of an older frame of its stream."""
        if not message.is_frame:
            self.others.append(message)
            if len(self.others) > _MOST_OTHERS:
                self._skip(self.others.popleft())
            return
        if message.stream in self.frames:
            self._skip(message)
        self.frames[message.stream] = message

    def _skip(self, message: Message) -> None:
        self.skipped[message.stream] = self.skipped.get(message.stream, 0) + 1

    def take(self) -> list[Message]:
        """What waits: a stream's last frame before its change of state and the tracks that ended."""
        taken = [*self.frames.values(), *self.others]
        self.frames, self.others = {}, deque()
        return taken


class Fanout:
    """All clients of the websocket."""

    def __init__(self, hub: Hub) -> None:
        self.clients: set[Client] = set()
        self._hub = hub
        self.skipped = 0
        self._waiting: set[Client] = set()
        self._closing: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def flushing(self) -> AsyncGenerator[None, None]:
        """While the block lasts, what waits for clients is sent as soon as they are ready."""
        task = asyncio.create_task(self._flush_busy())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def join(self, client: Client) -> None:
        """Take a client in, or note its new wishes. It is told first what it wants to know of the past."""
        self.clients.add(client)
        if client.wanted.after:
            client.past.extend(_since(self._hub, client.wanted))
        else:
            newest = (*self._hub.states.values(), *self._hub.frames.values())
            client.past.extend(client.form.of(m, self._hub.session) for m in newest if client.wanted.wants(m))
        if client.waiting:
            self._waiting.add(client)

    def begin_again(self, hello: bytes) -> None:
        """Everybody is told `hello`, as newcomers are, and nothing more of what came before."""
        for client in self.clients:
            client.take()
            client.skipped.clear()
            client.past = deque([hello])
            self._waiting.add(client)

    def leave(self, client: Client) -> None:
        self.clients.discard(client)
        self._waiting.discard(client)

    def offer(self, message: Message) -> None:
        """To everybody who wants it: now, or once they are ready."""
        now, ready = time.monotonic(), list[Client]()
        for client in self.clients:
            if client.wants(message, now):
                if client.waiting or client.busy:
                    self._keep(client, message, now)
                else:
                    ready.append(client)
        self._broadcast(message, ready)

    def _keep(self, client: Client, message: Message, now: float) -> None:
        client.keep(message)
        client.busy_since = client.busy_since or now
        self._waiting.add(client)

    def _broadcast(self, message: Message, clients: Iterable[Client]) -> None:
        alike: dict[tuple[Form, int], list[ServerConnection]] = {}
        for client in clients:
            skipped = client.skipped.pop(message.stream, 0) if message.is_frame else 0
            self.skipped += skipped
            alike.setdefault((client.form, skipped), []).append(client.connection)
        encoded: dict[Form, bytes] = {}
        for (form, skipped), connections in alike.items():
            if form not in encoded:
                encoded[form] = form.of(message, self._hub.session)
            broadcast(connections, with_skipped(encoded[form], skipped), text=True)

    async def _flush_busy(self) -> None:
        while True:
            await asyncio.sleep(_FLUSH)
            now = time.monotonic()
            for client in list(self.clients):
                if client.connection.transport.get_write_buffer_size() > _TOO_MUCH:
                    client.connection.transport.abort()
            for client in list(self._waiting):
                if not client.busy:
                    self._flush(client)
                elif client.busy_since is None:
                    client.busy_since = now
                elif now - client.busy_since > _PATIENCE:
                    self._give_up(client)

    def _flush(self, client: Client) -> None:
        client.busy_since = None
        while client.past and not client.busy:
            broadcast([client.connection], client.past.popleft(), text=True)
        if not client.past:
            self._waiting.discard(client)
            for message in client.take():
                self._broadcast(message, [client])

    def _give_up(self, client: Client) -> None:
        _log.info("a websocket client did not read for %g s and was closed", _PATIENCE)
        self.leave(client)
        closing = asyncio.create_task(client.connection.close(_POLICY_VIOLATION, "does not read"))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


def _since(hub: Hub, wanted: Subscription) -> Iterator[bytes]:
    """The records after those that `wanted` names, in its form; what is no longer there is told as missed."""
    for stream, seq in wanted.after.items():
        past = hub.past.get(stream)
        if not past or (wanted.streams is not None and stream not in wanted.streams):
            continue
        seen = seq if wanted.session == hub.session else -1
        first = math.ceil(past[0][0])
        if first > seen + 1:
            yield encode(MissedRecord(SCHEMA_VERSION, stream, hub.session, seen + 1, first - 1))
        for number, data in past:
            if number > seen:
                yield wanted.form.cut(data)
