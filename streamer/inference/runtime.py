"""Running compiled models, and the threads that do it."""

import asyncio
import contextlib
import logging
import re
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from queue import LifoQueue
from typing import Any, TypeVar

import numpy as np
import openvino as ov

from streamer.errors import DeviceError
from streamer.face import Floats, Pixels
from streamer.inference.budget import cpu_budget
from streamer.turns import Share, Turns

T = TypeVar("T")
_log = logging.getLogger(__name__)
_BATCH = 32  # faces in one inference: more are no quicker, and a crowd's would take gigabytes
_AT_ONCE = 2  # pictures for each thread: some compute while others change hands,
_MORE = 6  # and where nobody is in a hurry so many more: there are always some to be described together
_SHAPES = "32"  # input shapes for which a model keeps its memory


class Model:
    """A compiled model. Call it with uint8 (n, height, width, 3) BGR; it answers with its outputs as float32.

    Any number of threads may call it at once; they are served in turn by a fixed number of infer requests.
    """

    def __init__(self, compiled: Any, requests: int, another: Callable[[], Any]) -> None:
        """`another` gives what the requests after the first are made from, when they are needed."""
        self._outputs = range(len(compiled.outputs))
        self._another = another
        self._idle: LifoQueue[Any] = LifoQueue()
        for request in [None] * (requests - 1) + [compiled.create_infer_request()]:
            self._idle.put(request)

    def __call__(self, batch: Pixels) -> tuple[Floats, ...]:
        """Raises DeviceError if the device fails."""
        if len(batch) <= _BATCH:
            return self._infer(batch)
        answers = [self._infer(batch[i : i + _BATCH]) for i in range(0, len(batch), _BATCH)]
        return tuple(np.concatenate(outputs) for outputs in zip(*answers, strict=True))

    def _infer(self, batch: Pixels) -> tuple[Floats, ...]:
        request = self._idle.get()
        try:
            if request is None:
                request = self._another().create_infer_request()
            request.set_input_tensor(ov.Tensor(batch, shared_memory=True))
            request.infer()
            return tuple(np.array(request.get_output_tensor(i).data) for i in self._outputs)
        except RuntimeError as error:
            raise DeviceError(f"the device failed during inference: {error}") from error
        finally:
            self._idle.put(request)


class Engine:
    """One OpenVINO device, its compiled models, and threads that work on pictures.

    `turns` are what streams share its time by; all stills together have the share `stills`. `precisions` tells what
    each model, by its name, really computes with, but for what its weights are quantised for.
    """

    def __init__(self, device: str, threads: int, cache: Path) -> None:
        """`threads` 0 takes what this process may use. A device that is not there is replaced by the CPU, with a
        warning that says so.
        """
        self.threads = threads or cpu_budget()
        self._core = ov.Core()
        with contextlib.suppress(OSError):  # a read-only cache only costs start-up time
            cache.mkdir(parents=True, exist_ok=True)
            self._core.set_property({"CACHE_DIR": str(cache)})
        self.device = self._present(device)
        self.precisions: dict[str, str] = {}
        self._models: dict[tuple[Path, tuple[int, ...] | None], Model] = {}
        # One at a time: OpenVINO sets the process's locale meanwhile, and two at once do not set it back.
        self._compiling = threading.RLock()
        self._frames = ThreadPoolExecutor(self.threads, "frames")
        self._others = ThreadPoolExecutor(self.threads, "pictures")  # a still takes long: frames do not wait for it
        self.turns = Turns(_AT_ONCE * self.threads, self.threads, most=_AT_ONCE * self.threads + _MORE)
        self.stills = Share(self.turns)

    def load(self, graph: Path, shape: tuple[int, ...] | None = None, *, one_at_a_time: bool = False) -> Model:
        """The graph compiled, its input reshaped to `shape` (n, height, width, 3) where given. Takes a while the first
        time; callable from any thread. A large model is quickest `one_at_a_time`, with all threads. Raises DeviceError.
        """
        with self._compiling:
            if (graph, shape) not in self._models:
                self._models[graph, shape] = self._model(graph, shape, one_at_a_time)
            return self._models[graph, shape]

    def _model(self, graph: Path, shape: tuple[int, ...] | None, one_at_a_time: bool) -> Model:
        # Small networks cannot be split. Each thread has a copy of its own, which computes in that thread: handing the
        # work to others, as several streams of one copy do, costs a fifth of it.
        threads = self.threads if one_at_a_time else 1
        compile_one = partial(self._compile, graph, shape, threads)
        compiled = compile_one()
        self.precisions[re.sub("-[0-9a-f]{12}$", "", graph.parent.name)] = _precision(compiled)  # less its fingerprint
        if self.device == "CPU":
            return Model(compiled, self.threads // threads, compile_one)
        return Model(compiled, max(self.threads, 2), lambda: compiled)

    def _compile(self, graph: Path, shape: tuple[int, ...] | None, threads: int) -> Any:
        try:
            with self._compiling:
                model = graph  # need not even be read where a compiled one is in the cache
                if shape:
                    model = self._core.read_model(graph)
                    model.reshape(list(shape))
                return self._core.compile_model(model, self.device, self._options(threads))
        except RuntimeError as error:
            raise DeviceError(
                f"{self.device} cannot run {graph.parent.name}: {_first_line(error)}", "try device CPU"
            ) from error

    async def offload(self, work: Callable[..., T], *args: Any) -> T:
        """`work(*args)` in a thread for pictures; it should spend its time in models, OpenCV or NumPy."""
        return await asyncio.get_running_loop().run_in_executor(self._others, work, *args)

    async def offload_frame(self, work: Callable[..., T], *args: Any) -> T:
        """The same in a thread for the frames of streams: there are no more than can compute at a time."""
        return await asyncio.get_running_loop().run_in_executor(self._frames, work, *args)

    def begin(self, work: Callable[..., T], *args: Any) -> Future[T]:
        """Begin `work(*args)` in a thread for frames, unless it is closed before: then what is given is cancelled."""
        return self._frames.submit(work, *args)

    def close(self) -> None:
        """Wait for what still runs."""
        self._frames.shutdown(cancel_futures=True)
        self._others.shutdown(cancel_futures=True)

    def _present(self, device: str) -> str:
        if device in ("CPU", "AUTO"):
            return device
        known = self._core.available_devices
        if any(name == device or name.startswith(f"{device}.") for name in known):
            return device
        _log.warning("device %s is not there (OpenVINO sees: %s); using CPU instead", device, ", ".join(known))
        return "CPU"

    def _options(self, threads: int) -> dict[str, Any]:
        if self.device != "CPU":
            return {"PERFORMANCE_HINT": "THROUGHPUT"}
        return copy_options(threads)


def copy_options(threads: int) -> dict[str, Any]:
    """What a copy of a model is compiled with that computes with so many threads, the caller's among them."""
    return {
        "NUM_STREAMS": "1",
        "INFERENCE_NUM_THREADS": str(threads),
        "ENABLE_CPU_PINNING": False,  # all copies would be pinned to the same core
        "CPU_RUNTIME_CACHE_CAPACITY": _SHAPES,
    }


def _precision(compiled: Any) -> str:
    try:
        return str(compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name())
    except RuntimeError:  # AUTO may not have chosen yet
        return "unknown"


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in reversed(lines) if "Exception from" not in line), str(error))
