"""Running compiled models: `await model(batch)` over a few reused infer requests."""

import asyncio
import contextlib
import logging
import re
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
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
_AT_ONCE = 2  # pictures for each thread: one computes while another changes hands
_SHAPES = "32"  # input shapes for which a model keeps its memory


class Model:
    """A compiled model. Call it with uint8 (n, height, width, 3) BGR; it answers with its outputs as float32.

    Any number of calls may wait at once; they are served in turn by a fixed number of infer requests.
    """

    def __init__(self, compiled: Any, requests: int) -> None:
        self._outputs = range(len(compiled.outputs))
        self._requests = [compiled.create_infer_request() for _ in range(requests)]
        self._idle = deque(self._requests)
        self._waiting: deque[asyncio.Future[Any]] = deque()

    async def __call__(self, batch: Pixels) -> tuple[Floats, ...]:
        """Raises DeviceError if the device fails."""
        if len(batch) <= _BATCH:
            return await self._infer(batch)
        parts = [self._infer(batch[i : i + _BATCH]) for i in range(0, len(batch), _BATCH)]
        answers = await asyncio.gather(*parts)
        return tuple(np.concatenate(outputs) for outputs in zip(*answers, strict=True))

    async def _infer(self, batch: Pixels) -> tuple[Floats, ...]:
        request = await self._acquire()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[tuple[Floats, ...]] = loop.create_future()

        def inferred(_held: Pixels) -> None:  # in a thread of OpenVINO
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits
                loop.call_soon_threadsafe(self._finish, request, done)

        # The request reads the memory of `batch`: as the callback's argument it lives until the inference has ended,
        # even if the caller was cancelled by then.
        request.set_callback(inferred, batch)
        try:
            request.set_input_tensor(ov.Tensor(batch, shared_memory=True))
            request.start_async()
        except RuntimeError as error:
            self._release(request)
            raise DeviceError(f"the device does not take the input: {error}") from error
        return await done

    def close(self) -> None:
        """Wait for inferences that nobody waits for any more; call it before the event loop closes."""
        for request in self._requests:
            with contextlib.suppress(RuntimeError):  # a failed inference was reported to its caller
                request.wait()

    async def _acquire(self) -> Any:
        if self._idle:
            return self._idle.popleft()
        turn: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._release(turn.result())
            raise

    def _finish(self, request: Any, done: asyncio.Future[tuple[Floats, ...]]) -> None:
        try:
            request.wait()  # the callback may still be on its way out: only then can the request start again
            outputs = tuple(np.array(request.get_output_tensor(i).data) for i in self._outputs)
        except RuntimeError as error:
            if not done.cancelled():
                done.set_exception(DeviceError(f"the device failed during inference: {error}"))
        else:
            if not done.cancelled():
                done.set_result(outputs)
        finally:
            self._release(request)

    def _release(self, request: Any) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(request)
                return
        self._idle.append(request)


class Engine:
    """One OpenVINO device, its compiled models, and threads for work on pixels.

    `turns` are what streams share its time by; all stills together have the share `stills`. `precisions` tells what
    each model, by its name, really computes with.
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
        self._compiling = threading.Lock()
        self._pool = ThreadPoolExecutor(self.threads, "pixels")
        self.turns = Turns(_AT_ONCE * self.threads)
        self.stills = Share(self.turns)

    def load(self, graph: Path, shape: tuple[int, ...] | None = None, *, one_at_a_time: bool = False) -> Model:
        """The graph compiled, its input reshaped to `shape` (n, height, width, 3) where given. Takes a while the first
        time; callable from any thread. A large model is quickest `one_at_a_time`, with all threads. Raises DeviceError.
        """
        with self._compiling:
            if (graph, shape) not in self._models:
                self._models[graph, shape] = self._compile(graph, shape, 1 if one_at_a_time else self.threads)
            return self._models[graph, shape]

    def _compile(self, graph: Path, shape: tuple[int, ...] | None, streams: int) -> Model:
        try:
            model = graph  # need not even be read where a compiled one is in the cache
            if shape:
                model = self._core.read_model(graph)
                model.reshape(list(shape))
            compiled = self._core.compile_model(model, self.device, self._options(streams))
        except RuntimeError as error:
            raise DeviceError(
                f"{self.device} cannot run {graph.parent.name}: {_first_line(error)}", "try device CPU"
            ) from error
        self.precisions[re.sub("-[0-9a-f]{12}$", "", graph.parent.name)] = _precision(compiled)  # less its fingerprint
        return Model(compiled, streams if streams == 1 else max(streams, 2))

    async def offload(self, work: Callable[..., T], *args: Any) -> T:
        """`work(*args)` in a thread for pixels; it should spend its time in OpenCV or NumPy."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *args)

    def ahead(self, work: Callable[..., object], *args: Any) -> None:
        """Begin `work(*args)` in a thread for pixels. Its failure is not told: whoever needs it does it again."""
        self._pool.submit(work, *args)

    def close(self) -> None:
        """Wait for what still runs; call it before the event loop closes."""
        for model in list(self._models.values()):
            model.close()
        self._pool.shutdown(cancel_futures=True)

    def _present(self, device: str) -> str:
        if device in ("CPU", "AUTO"):
            return device
        known = self._core.available_devices
        if any(name == device or name.startswith(f"{device}.") for name in known):
            return device
        _log.warning("device %s is not there (OpenVINO sees: %s); using CPU instead", device, ", ".join(known))
        return "CPU"

    def _options(self, streams: int) -> dict[str, Any]:
        if self.device != "CPU":
            return {"PERFORMANCE_HINT": "THROUGHPUT"}
        # Small networks cannot be split: one thread each, as many at a time as there are threads.
        return {
            "NUM_STREAMS": str(streams),
            "INFERENCE_NUM_THREADS": str(self.threads),
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
