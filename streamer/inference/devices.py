"""What OpenVINO sees on this machine, and the precision that it computes with."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import openvino as ov

from streamer.errors import DeviceError


class Device(NamedTuple):
    """`name` as settings have it (CPU, GPU.1), and what the hardware is called."""

    name: str
    hardware: str


def list_devices() -> list[Device]:
    """All devices that OpenVINO can use. It hangs where neither /proc nor /sys is mounted."""
    return list(_devices(ov.Core()))


def precision(device: str, graph: Path | None = None) -> str:
    """The precision that `device` really runs `graph` with, or a convolution if there is no graph: f32, bf16, f16 ...

    Raises DeviceError.
    """
    core = ov.Core()
    try:
        compiled = core.compile_model(core.read_model(graph) if graph else _convolution(), device)
        return str(compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name())
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise DeviceError(f"{device} cannot run a model: {reason}", "try device CPU") from error


def _devices(core: ov.Core) -> Iterator[Device]:
    for name in core.available_devices:
        yield Device(name, str(core.get_property(name, "FULL_DEVICE_NAME")).strip())


def _convolution() -> ov.Model:
    from openvino import opset13

    picture = opset13.parameter([1, 3, 8, 8], np.float32)
    kernel = opset13.constant(np.ones((4, 3, 3, 3), np.float32))
    result = opset13.convolution(picture, kernel, [1, 1], [0, 0], [0, 0], [1, 1])
    return ov.Model([result], [picture], "convolution")
