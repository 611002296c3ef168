"""`/metrics` for Prometheus, and `/readyz`: how the program is doing, without a word about where its cameras are."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import get_args

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from streamer import __version__
from streamer.contract import State
from streamer.fleet import Fleet, StreamReport
from streamer.flow import Hub, Message
from streamer.inference.runtime import Engine
from streamer.outputs.fanout import Fanout
from streamer.web.admission import Admission
from streamer.web.answers import json_answer
from streamer.web.routes import Route

_AGES = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0)  # seconds
_STAGES = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
_Values = tuple[tuple[str, str, Callable[[StreamReport], float]], ...]
_GAUGES: _Values = (
    ("faces", "Faces in the newest frame.", lambda report: report.faces),
    ("looks_held_seconds", "How old the oldest value in the newest result is.", lambda report: report.looks_held),
)
_COUNTERS: _Values = (
    ("reconnects", "Times that a source delivered again.", lambda report: max(report.source.opened - 1, 0)),
    ("source_tries", "Times that a source was opened, or tried to.", lambda report: report.source.tries),
    ("abandoned_threads", "Sources that did not close in time.", lambda report: report.source.abandoned),
)


class Readiness(msgspec.Struct, frozen=True):
    """Whether results can be expected, and why not."""

    ready: bool
    reasons: list[str]


class Metrics(Collector):
    """Sees every record, and reads the rest where it is counted when somebody asks."""

    def __init__(self, hub: Hub, fleet: Fleet, engine: Engine, fanout: Fanout, admission: Admission) -> None:
        self._hub = hub
        self._fleet = fleet
        self._engine = engine
        self._fanout = fanout
        self._admission = admission
        self._began = time.monotonic()
        self._registry = CollectorRegistry()
        self._ages = Histogram(
            "facestreamer_frame_age_seconds",
            "Age of a result when it is published, from the capture of its frame where that is known.",
            ["stream"],
            buckets=_AGES,
            registry=self._registry,
        )
        self._stages = Histogram(
            "facestreamer_stage_seconds",
            "What a stage of the analysis took.",
            ["stream", "stage"],
            buckets=_STAGES,
            registry=self._registry,
        )
        self._known: dict[str, set[str]] = {}  # stages that each stream has gone through
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    @property
    def routes(self) -> tuple[Route, ...]:
        return (
            Route("GET", "/metrics", self.metrics, "view", ((200, "text/plain"),)),
            Route("GET", "/readyz", self.ready, None, ((200, Readiness), (503, Readiness))),
        )

    async def metrics(self, _request: web.Request) -> web.Response:
        """How the program is doing, for Prometheus."""
        self._forget_removed()
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def ready(self, _request: web.Request) -> web.Response:
        """Whether the models are loaded, and a stream is live or none is wanted."""
        reasons = not_ready(self._fleet)
        return json_answer(Readiness(not reasons, reasons), 503 if reasons else 200)

    def offer(self, message: Message) -> None:
        """Count a result in; never waits."""
        result = message.result
        if result is None or message.passed_over:
            return
        self._ages.labels(message.stream).observe(max(result.took + result.frame.delay, 0.0))
        for stage, milliseconds in result.timings.items():
            self._stages.labels(message.stream, stage).observe(milliseconds / 1000)
        self._known.setdefault(message.stream, set()).update(result.timings)

    def collect(self) -> Iterator[Metric]:
        reports = list(self._fleet.reports.values())
        yield _frames(reports)
        yield _states(reports)
        yield from _of_streams(reports)
        yield from self._of_clients()
        yield from self._of_models()
        yield from _of_outputs(self._hub)
        yield InfoMetricFamily("facestreamer_build", "The program.", {"version": __version__})
        yield GaugeMetricFamily("facestreamer_uptime_seconds", "Since the start.", time.monotonic() - self._began)

    def _of_clients(self) -> Iterator[Metric]:
        clients, skipped = len(self._fanout.clients), self._fanout.skipped
        yield GaugeMetricFamily("facestreamer_websocket_clients", "Clients of the websocket.", clients)
        yield CounterMetricFamily(
            "facestreamer_websocket_skipped", "Records that slow clients of the websocket did not get.", skipped
        )
        yield GaugeMetricFamily("facestreamer_analyze_requests", "Requests to /analyze.", self._admission.present)
        yield GaugeMetricFamily(
            "facestreamer_analyze_working", "Pictures of these that are worked on.", self._admission.working
        )

    def _of_models(self) -> Iterator[Metric]:
        turns, engine = self._engine.turns, self._engine
        waiting = GaugeMetricFamily("facestreamer_turns", "Pictures by what they do for a turn.", labels=["state"])
        waiting.add_metric(["held"], turns.held)
        waiting.add_metric(["waiting"], turns.waiting)
        yield waiting
        info = InfoMetricFamily("facestreamer_model", "Models that are loaded.", labels=["model"])
        for model, precision in engine.precisions.items():
            info.add_metric([model], {"device": engine.device, "precision": precision})
        yield info

    def _forget_removed(self) -> None:
        for stream in [stream for stream in self._known if stream not in self._fleet.reports]:
            self._ages.remove(stream)
            for stage in self._known.pop(stream):
                self._stages.remove(stream, stage)


def not_ready(fleet: Fleet) -> list[str]:
    """Why nothing is to be expected of the streams; they are not named, since anybody may ask this."""
    wanted = [report for report in fleet.reports.values() if not report.paused]
    if not wanted or any(report.state == "live" for report in wanted):
        return []
    why = Counter(report.state + (f" ({report.error.code})" if report.error else "") for report in wanted)
    return ["no stream is live", *(f"{state}: {count}" for state, count in sorted(why.items()))]


def _frames(reports: list[StreamReport]) -> Metric:
    frames = CounterMetricFamily(
        "facestreamer_frames",
        "Frames by what became of them; `reason` is why one was skipped.",
        labels=["stream", "outcome", "reason"],
    )
    for report in reports:
        frames.add_metric([report.name, "processed", ""], report.processed)
        for reason, count in report.skipped.items():
            frames.add_metric([report.name, "skipped", reason], count)
    return frames


def _states(reports: list[StreamReport]) -> Metric:
    states = GaugeMetricFamily("facestreamer_stream_state", "1: the state of the stream.", labels=["stream", "state"])
    for report in reports:
        for state in get_args(State):
            states.add_metric([report.name, state], float(report.state == state))
    return states


def _of_outputs(hub: Hub) -> Iterator[Metric]:
    for output in hub.keepers:
        for name, value in output.figures().items():
            family = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            words = name.removesuffix("_total").replace("_", " ")
            yield family(f"facestreamer_{output.name}_{name}", f"Of the {output.name}: {words}.", value)


def _of_streams(reports: list[StreamReport]) -> Iterator[Metric]:
    for name, about, value in _GAUGES:
        gauge = GaugeMetricFamily(f"facestreamer_{name}", about, labels=["stream"])
        for report in reports:
            gauge.add_metric([report.name], value(report))
        yield gauge
    for name, about, value in _COUNTERS:
        counter = CounterMetricFamily(f"facestreamer_{name}", about, labels=["stream"])
        for report in reports:
            counter.add_metric([report.name], value(report))
        yield counter
