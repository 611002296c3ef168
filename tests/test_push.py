"""The websocket: narrowing, resuming, slow and rude clients, over real connections."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError

from streamer.analysis.visits import Visits
from streamer.config import ServerSettings
from streamer.contract import encode
from streamer.errors import SubscriptionError
from streamer.face import Face, FrameResult
from streamer.flow import Hub, Message, frame_message
from streamer.outputs import fanout
from streamer.outputs.push import push_server
from streamer.outputs.subscription import Form, Subscription, from_message, from_query, with_skipped
from streamer.records import frame_record, status_record, track_record
from streamer.watch import records
from tests.test_contract import a_face, frame

SESSION = "s1"


def picture(stream: str, seq: int, *faces: Face) -> Message:
    result = FrameResult(frame(seq=seq), faces, {}, 0, 10.0)
    return frame_message(stream, encode(frame_record(result, stream, SESSION)), result)


def state(stream: str, what: Any) -> Message:
    return Message(stream, encode(status_record(stream, SESSION, 0.0, what)))


def gone(stream: str, number: int) -> Message:
    visits = Visits()
    visits.update(FrameResult(frame(seq=number), (a_face(track_id=number),), {}, 0, 10.0))
    visits.finish()
    return Message(stream, encode(track_record(visits.ended[0], stream, SESSION)), "track")


def tracks(records: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(r["stream"], r["trackId"]) for r in records if r["type"] == "track"]


class Server:
    """A hub that is served at `url`; `port` stays the same when it is started again."""

    def __init__(self, hello: bytes = b'{"type":"hello"}') -> None:
        self.hub = Hub(SESSION)
        self.hello = hello
        self.port = 0

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/"

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        async with push_server(self.hub, ServerSettings(ws_port=self.port), lambda: self.hello) as self.port:
            yield

    async def publish(self, *messages: Message) -> None:
        for message in messages:
            await self.hub.publish(message)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    async with server.serving():
        yield server


async def take(client: ClientConnection, count: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(10):
        return [json.loads(await client.recv()) for _ in range(count)]


def numbers(records: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(r["stream"], r["seq"]) for r in records if r["type"] == "frame"]


async def joined(client: ClientConnection) -> None:
    """Once the client has had its hello it is with the others at the next turn of the loop."""
    assert (await take(client, 1))[0]["type"] == "hello"
    await asyncio.sleep(0)


async def test_a_newcomer_hears_the_newest_of_each_stream_and_then_what_comes(server: Server) -> None:
    await server.publish(state("a", "live"), picture("a", 1), picture("a", 2), picture("b", 7))
    async with connect(server.url) as client:
        hello, *newest = await take(client, 4)
        assert hello["type"] == "hello"
        assert newest[0]["state"] == "live"
        assert numbers(newest) == [("a", 2), ("b", 7)]
        await server.publish(picture("a", 3))
        assert numbers(await take(client, 1)) == [("a", 3)]


async def test_a_query_narrows(server: Server) -> None:
    async with connect(f"{server.url}?streams=b&facesOnly=1&fields=faces.age,image") as client:
        await joined(client)
        await server.publish(
            picture("a", 1, a_face()), picture("b", 1), state("b", "stalled"), picture("b", 2, a_face())
        )
        status, record = await take(client, 2)
    assert status["state"] == "stalled"
    assert set(record) == {"type", "schema", "stream", "session", "seq", "status", "image", "faces"}
    assert record["faces"] == [{"age": 24}]


async def test_a_message_changes_what_is_wanted(server: Server) -> None:
    async with connect(server.url) as client:
        await joined(client)
        await client.send('{"subscribe": {"streams": ["b"], "raw": true}}')
        async with asyncio.timeout(5):
            while not any(each.wanted.raw for each in clients_of(server)):  # noqa: ASYNC110 - nobody signals it
                await asyncio.sleep(0.01)
        await server.publish(picture("a", 1), picture("b", 1, a_face(raw=a_face(age=30))))
        (record,) = await take(client, 1)
    assert record["stream"] == "b"
    assert record["faces"][0]["raw"]["age"] == 30


def clients_of(server: Server) -> set[fanout.Client]:
    (consumer,) = server.hub._consumers  # noqa: SLF001  # nobody else may know who listens
    assert isinstance(consumer, fanout.Fanout)
    return consumer.clients


async def test_so_many_frames_a_second_and_no_more(server: Server) -> None:
    async with connect(f"{server.url}?maxFps=0.01") as client:
        await joined(client)
        await server.publish(*(picture("a", n) for n in range(50)), picture("b", 0), state("a", "ended"))
        got = await take(client, 3)
    assert numbers(got) == [("a", 0), ("b", 0)]
    assert got[-1]["state"] == "ended"


@pytest.mark.parametrize(
    "bad", ["?maxFps=x", "?maxFps=-1", "?after=a", "?after=a:x", "hello", "[]", '{"subscribe": {"stream": 1}}']
)
async def test_what_is_not_understood_is_said(server: Server, bad: str) -> None:
    query, message = (bad, None) if bad.startswith("?") else ("", bad)
    async with connect(server.url + query) as client:
        if message:
            await client.send(message)
        with pytest.raises(ConnectionClosedError) as closed:
            await take(client, 2)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008
    assert "not understood" in closed.value.rcvd.reason


async def test_a_client_that_comes_back_gets_what_it_missed_in_order(server: Server) -> None:
    await server.publish(*(picture("a", n) for n in range(20)), state("a", "stalled"), picture("b", 0))
    async with connect(f"{server.url}?session={SESSION}&after=a:15") as client:
        got = await take(client, 6)
        assert numbers(got) == [("a", n) for n in range(16, 20)]
        assert got[-1]["state"] == "stalled"
        await server.publish(picture("a", 20))
        assert numbers(await take(client, 1)) == [("a", 20)]


async def test_tracks_come_between_frames_to_who_comes_back_and_are_no_state(server: Server) -> None:
    await server.publish(state("a", "live"), picture("a", 0), gone("a", 1), picture("a", 1), gone("a", 2))
    async with connect(f"{server.url}?session={SESSION}&after=a:0") as client:
        got = await take(client, 4)
        assert [r["type"] for r in got[1:]] == ["track", "frame", "track"]
    async with connect(server.url) as newcomer:
        assert [r["type"] for r in await take(newcomer, 3)] == ["hello", "status", "frame"]
    assert json.loads(server.hub.states["a"].data)["state"] == "live"


async def test_tracks_are_neither_thinned_nor_narrowed_but_kept_to_their_streams(server: Server) -> None:
    async with connect(f"{server.url}?streams=a&facesOnly=1&maxFps=0.01&fields=time") as client:
        await joined(client)
        await server.publish(*(gone(name, n) for n in range(3) for name in "ab"))
        got = await take(client, 3)
    assert tracks(got) == [("a", n) for n in range(3)]
    assert all(record["best"]["face"] for record in got)


async def test_a_crowd_that_leaves_at_once_is_told_whole(server: Server) -> None:
    async with connect(server.url) as client:
        await joined(client)
        await server.publish(*(gone("a", n) for n in range(400)))
        assert tracks(await take(client, 400)) == [("a", n) for n in range(400)]


async def test_tracks_that_a_slow_client_did_not_get_are_counted(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fanout, "_MOST_OTHERS", 10)
    async with connect(server.url) as client:
        await joined(client)
        (known,) = clients_of(server)
        for n in range(25):
            known.keep(gone("a", n))
        assert [m.data for m in known.take()] == [gone("a", n).data for n in range(15, 25)]
        await server.publish(picture("a", 0))
        (record,) = await take(client, 1)
        assert record["skipped"] == 15


async def test_what_can_no_longer_be_had_is_told(server: Server) -> None:
    await server.publish(*(picture("a", n) for n in range(800)))
    async with connect(f"{server.url}?session={SESSION}&after=a:15") as client:
        _, missed, first = await take(client, 3)
        client.transport.abort()  # it has much to read yet, before it would see a goodbye
    assert missed == {"type": "missed", "schema": 1, "stream": "a", "session": SESSION, "from": 16, "to": 299}
    assert first["seq"] == 300
    async with connect(f"{server.url}?session=another&after=a:790") as client:
        _, missed, first = await take(client, 3)
        client.transport.abort()
    assert (missed["from"], missed["to"], first["seq"]) == (0, 299, 300)


async def test_a_slow_client_gets_the_newest_and_is_told_how_many_it_did_not_get(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fanout, "_PATIENCE", 100.0)
    async with connect(server.url, max_queue=1) as slow, connect(server.url) as quick:
        await joined(slow)
        await joined(quick)
        slow.transport.pause_reading()
        for seq in range(3000):
            await server.publish(picture("a", seq, *[a_face()] * 20))
            assert numbers(await take(quick, 1)) == [("a", seq)]
        slow.transport.resume_reading()
        got = list[dict[str, Any]]()
        while not got or got[-1]["seq"] != 2999:
            got += await take(slow, 1)
    seqs = [record["seq"] for record in got]
    assert seqs == sorted(set(seqs))
    assert len(seqs) < 3000
    assert len(seqs) + sum(record.get("skipped", 0) for record in got) == 3000


async def test_a_client_that_never_reads_is_closed_with_a_reason(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fanout, "_PATIENCE", 0.2)
    async with connect(server.url, max_queue=1, close_timeout=0.1) as client:
        await joined(client)
        client.transport.pause_reading()
        async with asyncio.timeout(20):
            seq = 0
            while clients_of(server):
                await server.publish(picture("a", seq, *[a_face()] * 50))
                await asyncio.sleep(0)
                seq += 1


async def test_a_client_that_floods_with_pings_and_never_reads_is_cut_off(server: Server) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1 << 10)
    writer.write(
        b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    await reader.readuntil(b"\r\n\r\n")
    ping = b"\x89\xfd\0\0\0\0" + bytes(125)  # masked with nothing

    async def flood() -> None:
        while True:
            writer.write(ping * 500)
            await writer.drain()

    with pytest.raises(ConnectionError):
        await asyncio.wait_for(flood(), 30)
    writer.close()


async def test_watching_goes_on_after_the_server_was_away() -> None:
    server, got = Server(), list[tuple[str, int]]()
    async with asyncio.timeout(30):
        async with server.serving():
            watching = records(server.url, {"streams": "a"})
            assert json.loads(await anext(watching))["type"] == "hello"
            await server.publish(picture("a", 0))
            got += numbers([json.loads(await anext(watching))])
        await server.publish(picture("a", 1), picture("b", 1), picture("a", 2))
        async with server.serving():
            while len(got) < 3:
                got += numbers([json.loads(await anext(watching))])
        await watching.aclose()
    assert got == [("a", 0), ("a", 1), ("a", 2)]


async def test_watching_tells_a_track_once_whatever_breaks() -> None:
    server, got = Server(), list[dict[str, Any]]()
    async with asyncio.timeout(30):
        async with server.serving():
            watching = records(server.url, {})
            assert json.loads(await anext(watching))["type"] == "hello"
            await server.publish(picture("a", 0), gone("a", 1))
            got += [json.loads(await anext(watching)) for _ in range(2)]
        await server.publish(gone("a", 2), picture("a", 1))
        async with server.serving():
            while numbers(got)[-1:] != [("a", 1)]:
                got.append(json.loads(await anext(watching)))
        await watching.aclose()
    assert tracks(got) == [("a", 1), ("a", 2)]


@given(
    st.dictionaries(
        st.sampled_from(["streams", "maxFps", "fields", "facesOnly", "raw", "session", "after", "x"]), st.text()
    )
)
def test_any_query_is_a_subscription_or_refused(query: dict[str, str]) -> None:
    with contextlib.suppress(SubscriptionError):
        assert isinstance(from_query(query), Subscription)


@given(st.text() | st.binary())
def test_any_message_is_a_subscription_or_refused(message: str | bytes) -> None:
    with contextlib.suppress(SubscriptionError):
        assert isinstance(from_message(message), Subscription)


def test_query_and_message_say_the_same() -> None:
    query = {
        "streams": "a,b",
        "maxFps": "2.5",
        "fields": "faces",
        "facesOnly": "1",
        "session": "s",
        "after": "a:1,b:x:2",
    }
    asked: dict[str, Any] = {
        "streams": ["a", "b"],
        "maxFps": 2.5,
        "fields": ["faces"],
        "facesOnly": True,
        "session": "s",
    }
    message = json.dumps({"subscribe": asked | {"after": {"a": 1, "b:x": 2}}})
    assert from_query(query) == from_message(message)


def test_skipped_is_the_last_key() -> None:
    data = Form().of(picture("a", 3), SESSION)
    assert with_skipped(data, 0) == data
    assert msgspec.json.decode(with_skipped(data, 9)) == msgspec.json.decode(data) | {"skipped": 9}
