"""How fast this machine could be: each part of the work alone, at full throughput on all its threads.

What the parts are given is what the pipeline gives them for the clip at hand, and as often.
"""

import itertools
import math
import re
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec
import numpy as np
import openvino as ov

from streamer.config import Settings, StreamSettings
from streamer.configfile import read_pipeline
from streamer.face import Floats, Frame, FrameResult, Pixels
from streamer.inference.cards import pick, read_cards
from streamer.inference.models import Models
from streamer.inference.runtime import Engine, Model, copy_options
from streamer.inference.store import Progress, Store
from streamer.media.address import resolve
from streamer.media.budget import DecodingBudget
from streamer.media.opening import Host, Opening
from streamer.media.source import StateChange, Tally, keep_open
from streamer.media.video import read_video
from streamer.pipeline import analyse_stream
from streamer.turns import Share

_LEAST = 30  # frames, however long they take
_ROWS = 32  # inputs that are kept of each model
_BATCHES = (1, 4, 16)
_TRIAL, _TRIALS = 0.2, 2  # seconds for each way of running a model, and in how many goes
_AHEAD = 2  # requests for each stream: one waits while another is computed
_ORDER = ("detection", "landmarks", "age", "gender", "emotion")
_FIRST = 5  # pictures that are not timed: the decoder's threads fill up

_Key = tuple[Path, tuple[int, ...] | None]


class Part(msgspec.Struct, frozen=True):
    """A part of the work: `rate` is how many this machine does a second, `each` how many a frame needs, both of what is
    called `unit`; `full` how many it would need if each picture was read once, at full size.
    """

    name: str
    unit: str
    rate: float
    each: float
    full: float


class Taken(msgspec.Struct):
    """What a model was given: how many inputs in all, and the first of them."""

    count: int = 0
    rows: list[Pixels] = []

    def add(self, batch: Pixels) -> None:
        self.count += len(batch)
        if len(self.rows) < _ROWS:
            self.rows += [row.copy() for row in batch]


class Recording(msgspec.Struct, frozen=True):
    """What the pipeline did with the first `frames` of a clip; `precisions` are those of the models by name."""

    frames: int
    faces: float
    taken: dict[_Key, Taken]
    threads: int
    precisions: dict[str, str]


class _Recorder(Engine):
    """An engine that notes what its models are given."""

    def __init__(self, device: str, threads: int, cache: Path) -> None:
        super().__init__(device, threads, cache)
        self.taken: dict[_Key, Taken] = {}

    def load(self, graph: Path, shape: tuple[int, ...] | None = None, *, one_at_a_time: bool = False) -> Model:
        model = super().load(graph, shape, one_at_a_time=one_at_a_time)
        return cast(Model, _Tap(model, self.taken.setdefault((graph, shape), Taken())))


class _Tap:
    def __init__(self, model: Model, taken: Taken) -> None:
        self._model = model
        self._taken = taken

    def __call__(self, batch: Pixels) -> tuple[Floats, ...]:
        self._taken.add(batch)
        return self._model(batch)


async def record(settings: Settings, stream: StreamSettings, seconds: float, progress: Progress) -> Recording:
    """Run the pipeline on `stream` for so many seconds after its first result. Raises StreamerError."""
    pipeline, cards = read_pipeline(settings.pipeline), read_cards(settings.models)
    store = Store(settings.models.folder(), progress)
    store.pull(pick(cards, pipeline.models()))
    engine = _Recorder(settings.device, settings.threads, store.compiled)
    try:
        models = Models(pipeline, store, cards, engine)
        counts = await _play(stream, models, seconds)
        mean = sum(counts) / max(len(counts), 1)
        return Recording(len(counts), mean, engine.taken, engine.threads, dict(engine.precisions))
    finally:
        engine.close()


async def _play(stream: StreamSettings, models: Models, seconds: float) -> list[int]:
    """How many faces there were in each frame that was begun within `seconds` after the first result, or a few more."""
    host, end = Host(models.engine.threads, DecodingBudget(models.engine.threads)), math.inf
    counts: list[int] = []

    async def source(share: Share) -> AsyncGenerator[Frame | StateChange, None]:
        async with aclosing(keep_open(stream, share, host, Tally())) as items:
            async for item in items:
                yield item
                if time.monotonic() >= end and len(counts) >= _LEAST:
                    return

    async with aclosing(analyse_stream(stream, source, models)) as results:
        async for result in results:
            if isinstance(result, FrameResult):
                counts.append(len(result.faces))
                end = min(end, result.published + seconds)
            elif result.error is not None:
                raise result.error
    return counts


class _Measured(NamedTuple):
    """A model, how many of its inputs a frame needs, and what tells how many it does a second."""

    task: str
    name: str
    shape: tuple[int, ...] | None
    each: float
    rate: Callable[[float], float]

    @property
    def place(self) -> int:
        return _ORDER.index(self.task) if self.task in _ORDER else len(_ORDER)


class Limit:
    """Measures the parts of the work again and again."""

    def __init__(self, settings: Settings, stream: StreamSettings, recording: Recording) -> None:
        """Finds for each model the number of streams and the batch with which it does most a second."""
        self._stream = stream
        self._recording = recording
        cards, models = read_cards(settings.models), list[_Measured]()
        for (graph, shape), taken in recording.taken.items():
            if taken.count:
                name = _card_name(graph)
                rate = _quickest(settings.device, recording.threads, graph, shape, taken.rows)
                task = cards[name].task if name in cards else ""
                models.append(_Measured(task, name, shape, taken.count / recording.frames, rate))
        self._models = sorted(models, key=lambda model: model.place)

    def measure(self, seconds: float) -> list[Part]:
        """All parts: decoding of the recorded frames, at most three times `seconds`, and `seconds` for each model."""
        decoded = _decode(self._stream, self._recording.threads, self._recording.frames, 3 * seconds)
        parts = [Part("decoding", "frame", decoded, 1.0, 1.0)]
        for task, name, shape, each, rate in self._models:
            unit = "frame" if task == "detection" else "face"
            if shape:
                sizes = [math.prod(other.shape) for other in self._models if other.name == name and other.shape]
                read = float(math.prod(shape) == max(sizes)) if len(sizes) > 1 else each
                title, full = f"{task} ({name} {shape[2]}x{shape[1]})", read
            else:
                title, full = f"{task} ({name})", each
            parts.append(Part(title, unit, rate(seconds), each, full))
        return parts


def frames_per_second(parts: Iterable[Part]) -> float:
    """The limit: if all threads did nothing but these parts, one after the other."""
    return 1 / sum(part.each / part.rate for part in parts)


def full_frames_per_second(parts: Iterable[Part]) -> float:
    """What the limit would be if all pictures were read once, at full size."""
    return 1 / sum(part.full / part.rate for part in parts)


def _card_name(graph: Path) -> str:
    """In the cache the folder of a graph has its card's name with a fingerprint."""
    return re.sub("-[0-9a-f]{12}$", "", graph.parent.name)


def _decode(stream: StreamSettings, threads: int, frames: int, seconds: float) -> float:
    """Frames a second, the decoder set as it is for all files."""
    times: list[float] = []

    def put(_frame: object, _newest_wins: bool) -> bool:
        times.append(time.perf_counter())
        return len(times) < frames + _FIRST and times[-1] < times[0] + seconds

    read_video(Opening(resolve(stream), stream, Host(threads, DecodingBudget(threads))), put)
    return (len(times) - 1 - _FIRST) / (times[-1] - times[_FIRST])


def _quickest(
    device: str, threads: int, graph: Path, shape: tuple[int, ...] | None, rows: list[Pixels]
) -> Callable[[float], float]:
    """Measures inputs a second of one model, run in the way that gives most; it is given the seconds to take."""
    core = ov.Core()
    model = core.read_model(graph)
    if shape:
        model.reshape(list(shape))
    batches = _BATCHES if shape is None else (shape[0],)
    runners = list[_Queue | _Copies]()
    for streams in sorted({1, threads}) if device == "CPU" else (0,):
        options = {"NUM_STREAMS": str(streams), "INFERENCE_NUM_THREADS": str(threads)}
        compiled = core.compile_model(model, device, options if streams else {"PERFORMANCE_HINT": "THROUGHPUT"})
        runners += [_Queue(compiled, _AHEAD * streams, rows, batch) for batch in batches]
    if device == "CPU":
        copies = [core.compile_model(model, device, copy_options(1)) for _ in range(threads)]
        runners += [_Copies(copies, rows, batch) for batch in batches]
    # The best of several trials, in turns: others may have had the machine during one.
    trials = [(runner(_TRIAL / _TRIALS), number) for _ in range(_TRIALS) for number, runner in enumerate(runners)]
    return runners[max(trials)[1]]


def _fill(requests: Iterable[Any], rows: list[Pixels], batch: int) -> None:
    """Give each request a batch of the inputs, which stays there."""
    inputs = itertools.cycle(rows)
    for request in requests:
        stacked = np.stack(list(itertools.islice(inputs, batch)))
        request.set_input_tensor(ov.Tensor(stacked, shared_memory=False))


class _Copies:
    """Copies of a model, each of which computes in a thread of its own. The inputs are real ones."""

    def __init__(self, copies: list[Any], rows: list[Pixels], batch: int) -> None:
        self._batch = batch
        self._requests = [compiled.create_infer_request() for compiled in copies]
        _fill(self._requests, rows, batch)
        self(0.0)  # memory is made with the first inference

    def __call__(self, seconds: float) -> float:
        start = time.perf_counter()

        def calls(request: Any) -> int:
            count = 0
            while not count or time.perf_counter() < start + seconds:
                request.infer()
                count += 1
            return count

        with ThreadPoolExecutor(len(self._requests)) as pool:
            count = sum(pool.map(calls, self._requests))
        return count * self._batch / (time.perf_counter() - start)


class _Queue:
    """A compiled model that always has the next inputs waiting: real ones, which stay where they are."""

    def __init__(self, compiled: Any, requests: int, rows: list[Pixels], batch: int) -> None:
        self._queue = ov.AsyncInferQueue(compiled, requests)
        self._batch = batch
        _fill(self._queue, rows, batch)
        self(0.0)  # memory is made with the first inference

    def __call__(self, seconds: float) -> float:
        calls, start = 0, time.perf_counter()
        while not calls or time.perf_counter() < start + seconds:
            self._queue.start_async()
            calls += 1
        self._queue.wait_all()
        return calls * self._batch / (time.perf_counter() - start)
