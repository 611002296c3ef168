"""/metrics and /readyz: what they say is what happened, and no more than anybody may know."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.asyncio.client import connect

from streamer.config import ServerSettings, Settings, StreamSettings
from streamer.errors import UnreachableError
from streamer.face import FrameResult
from streamer.fleet import Fleet, StreamReport
from streamer.flow import Hub
from streamer.inference.models import Workshop
from streamer.media.source import StateChange
from streamer.outputs.fanout import Fanout
from streamer.outputs.push import push_server
from streamer.web.server import FaceServer, http_server
from tests.test_contract import a_face, frame
from tests.test_web import INFO

Item = FrameResult | StateChange


class Run:
    """Streams that deliver what a test puts into their queues, served."""

    def __init__(self, workshop: Workshop) -> None:
        self.hub = Hub("s1")
        self.fanout = Fanout(self.hub)
        self.queues: dict[str, asyncio.Queue[Item]] = {}
        self.fleet = Fleet(self.hub, self._analyse)
        self._workshop = workshop

    async def _analyse(self, report: StreamReport) -> AsyncGenerator[Item, None]:
        queue = self.queues.setdefault(report.name, asyncio.Queue())
        while True:
            yield await queue.get()
            queue.task_done()

    async def deliver(self, stream: str, *items: Item) -> None:
        queue = self.queues.setdefault(stream, asyncio.Queue())
        for item in items:
            queue.put_nowait(item)
        async with asyncio.timeout(10):
            await queue.join()
            await asyncio.sleep(0)

    @contextlib.asynccontextmanager
    async def serving(self, *streams: str, **server: Any) -> AsyncIterator[aiohttp.ClientSession]:
        settings = Settings(server=ServerSettings(http_port=0, ws_port=0, **server))
        faces = FaceServer(settings, self.hub, self.fleet, self.fanout, self._workshop, INFO)
        async with http_server(faces, settings.server) as port:
            secret = "rtsp://admin:w0rd@camera.example/live"
            running = asyncio.create_task(self.fleet.run({name: StreamSettings(secret) for name in streams}))
            try:
                await asyncio.sleep(0)
                async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
                    yield session
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
def run(workshop: Workshop) -> Run:
    return Run(workshop)


def live(at: float = 0.0) -> StateChange:
    return StateChange("live", at)


def lost() -> StateChange:
    return StateChange(
        "offline", 0.0, UnreachableError("rtsp://admin:w0rd@camera.example/live: no answer", "is it on?")
    )


def seen(seq: int, took: float = 0.04, faces: int = 1, **changes: Any) -> FrameResult:
    """A frame's result, `took` seconds after it came."""
    timings = {} if changes.get("skipped") else {"detect": 8.0, "describe": 20.0}
    found = tuple(a_face(track_id=n + 1, looks_held=0.25) for n in range(faces))
    return FrameResult(frame(seq=seq, **changes), found, timings, 0, 10.0 + took)


class Told:
    """What was scraped: each sample by its name (without the program's) and its labels."""

    def __init__(self, text: str) -> None:
        self.samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def __call__(self, name: str, **labels: str) -> float:
        (value,) = [s.value for s in self.samples if s.name == f"facestreamer_{name}" and s.labels == labels]
        return value

    def labels(self, name: str) -> list[dict[str, str]]:
        return [s.labels for s in self.samples if s.name == f"facestreamer_{name}"]


async def scraped(session: aiohttp.ClientSession) -> Told:
    async with session.get("/metrics") as response:
        assert response.status == 200
        assert response.content_type == "text/plain"
        text = await response.text()
    assert "camera.example" not in text
    assert "w0rd" not in text
    return Told(text)


async def test_metrics_count_what_happens(run: Run) -> None:
    async with run.serving("door") as session:
        await run.deliver("door", live(), *(seen(n) for n in range(3)), seen(3, took=0.4))
        await run.deliver("door", seen(4, skipped="superseded"), seen(5, skipped="stale"), seen(6, skipped="stale"))
        told = await scraped(session)
        assert told("frames_total", stream="door", outcome="processed", reason="") == 4
        assert told("frames_total", stream="door", outcome="skipped", reason="superseded") == 1
        assert told("frames_total", stream="door", outcome="skipped", reason="stale") == 2
        assert told("frame_age_seconds_count", stream="door") == 4
        assert told("frame_age_seconds_sum", stream="door") == pytest.approx(0.52)
        assert told("frame_age_seconds_bucket", stream="door", le="0.05") == 3
        assert told("frame_age_seconds_bucket", stream="door", le="0.5") == 4
        assert told("stage_seconds_count", stream="door", stage="detect") == 4
        assert told("stage_seconds_sum", stream="door", stage="describe") == pytest.approx(0.08)
        assert told("stream_state", stream="door", state="live") == 1
        assert told("stream_state", stream="door", state="offline") == 0
        assert told("faces", stream="door") == 1
        assert told("looks_held_seconds", stream="door") == 0.25

        source = run.fleet.report("door").source
        source.tries, source.opened, source.abandoned = 5, 3, 1
        await run.deliver("door", lost())
        told = await scraped(session)
        assert told("stream_state", stream="door", state="live") == 0
        assert told("stream_state", stream="door", state="offline") == 1
        assert told("reconnects_total", stream="door") == 2
        assert told("source_tries_total", stream="door") == 5
        assert told("abandoned_threads_total", stream="door") == 1


async def test_what_is_true_of_the_whole_program(run: Run, workshop: Workshop) -> None:
    workshop.models("realtime")
    async with run.serving() as session:
        told = await scraped(session)
        precision = {labels["model"]: labels["precision"] for labels in told.labels("model_info")}
        assert precision == workshop.engine.precisions
        assert set(precision) >= {"face-mesh", "dlib-age", "dlib-gender", "emotion-net"}
        assert set(precision.values()) <= {"f32", "bf16", "f16"}
        assert {labels["device"] for labels in told.labels("model_info")} == {"CPU"}
        assert told("turns", state="held") == told("turns", state="waiting") == 0
        assert told("analyze_requests") == told("analyze_working") == 0
        assert told("websocket_clients") == told("websocket_skipped_total") == 0
        assert told("uptime_seconds") >= 0
        assert told.labels("build_info")[0]["version"]
        run.fanout.skipped = 7
        server = ServerSettings(ws_port=0)
        async with (
            push_server(run.hub, server, lambda: b'{"type":"hello"}', run.fanout) as port,
            connect(f"ws://127.0.0.1:{port}/") as client,
        ):
            await client.recv()
            told = await scraped(session)
        assert told("websocket_clients") == 1
        assert told("websocket_skipped_total") == 7


async def test_a_stream_that_is_removed_leaves_nothing_behind(run: Run) -> None:
    async with run.serving("door", "desk") as session:
        for name in ("door", "desk"):
            await run.deliver(name, live(), seen(0))
        assert any(s.labels.get("stream") == "desk" for s in (await scraped(session)).samples)
        await run.fleet.remove("desk")
        told = await scraped(session)
        assert not any(s.labels.get("stream") == "desk" for s in told.samples)
        assert told("frame_age_seconds_count", stream="door") == 1


async def test_ready_once_a_stream_is_live(run: Run) -> None:
    async def told(session: aiohttp.ClientSession) -> tuple[int, list[str]]:
        async with session.get("/readyz") as response:
            answer = await response.json()
            assert answer["ready"] == (response.status == 200)
            return response.status, answer["reasons"]

    async with run.serving() as session:
        assert await told(session) == (200, [])
    async with run.serving("door", "desk", anonymous="view") as session:
        assert await told(session) == (503, ["no stream is live", "connecting: 2"])
        await run.deliver("door", lost())
        status, reasons = await told(session)
        assert (status, reasons) == (503, ["no stream is live", "connecting: 1", "offline (unreachable): 1"])
        assert "door" not in str(reasons)
        await run.deliver("desk", live())
        assert await told(session) == (200, [])
        await run.fleet.pause("desk")
        assert (await told(session))[0] == 503
        await run.fleet.pause("door")
        assert await told(session) == (200, [])  # nobody wants any
