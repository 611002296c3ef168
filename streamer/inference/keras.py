"""Rebuilds a Keras 2 network from its HDF5 file as an OpenVINO graph, so that TensorFlow is never needed.

Covers the layers of mini_XCEPTION (Arriaga, Valdenegro-Toro and Ploeger 2017). Tensors are NHWC outside, NCHW inside.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as op

from streamer.errors import ModelError

Weights = Callable[[str], NDArray[np.float32]]
Config = dict[str, Any]


def read_keras(path: Path) -> ov.Model:
    """The network in `path` with one input (n, height, width, channels) float32. Raises ModelError."""
    with h5py.File(path, "r") as file:
        layers: list[Config] = json.loads(file.attrs["model_config"])["config"]["layers"]
        nodes: dict[str, ov.Node] = {}
        image: Any = None
        for layer in layers:
            name, kind, config = layer["name"], layer["class_name"], layer["config"]
            if kind == "InputLayer":
                image = op.parameter([-1, *config["batch_input_shape"][1:]], np.float32, name="image")
                nodes[name] = op.transpose(image, np.array([0, 3, 1, 2]))
                continue
            inputs = [nodes[inbound[0]] for inbound in layer["inbound_nodes"][0]]
            nodes[name] = _layer(kind, config, inputs, _weights(file["model_weights"][name]))
    return ov.Model([nodes[layers[-1]["name"]]], [image], path.stem)


def _weights(layer: Any) -> Weights:
    paths = {path.decode().rpartition("/")[2]: path for path in layer.attrs["weight_names"]}
    return lambda name: np.asarray(layer[paths[f"{name}:0"]], np.float32)


def _layer(kind: str, config: Config, inputs: list[ov.Node], weights: Weights) -> ov.Node:
    x = inputs[0]
    match kind:
        case "Conv2D":
            kernel = weights("kernel").transpose(3, 2, 0, 1)
            y = op.convolution(x, kernel, config["strides"], [0, 0], [0, 0], [1, 1], _padding(config))
            return op.add(y, weights("bias").reshape(1, -1, 1, 1)) if config["use_bias"] else y
        case "SeparableConv2D":
            depthwise = weights("depthwise_kernel").transpose(2, 3, 0, 1)[:, None]
            pointwise = weights("pointwise_kernel").transpose(3, 2, 0, 1)
            y = op.group_convolution(x, depthwise, config["strides"], [0, 0], [0, 0], [1, 1], _padding(config))
            return op.convolution(y, pointwise, [1, 1], [0, 0], [0, 0], [1, 1])
        case "BatchNormalization":
            gain = weights("gamma") / np.sqrt(weights("moving_variance") + config["epsilon"])
            shift = weights("beta") - weights("moving_mean") * gain
            return op.add(op.multiply(x, gain.reshape(1, -1, 1, 1)), shift.reshape(1, -1, 1, 1))
        case "MaxPooling2D":
            pool = op.max_pool(
                x, config["strides"], [1, 1], [0, 0], [0, 0], config["pool_size"], "floor", _padding(config)
            )
            return pool.output(0)
        case "Add":
            return op.add(*inputs)
        case "GlobalAveragePooling2D":
            return op.reduce_mean(x, np.array([2, 3]), keep_dims=False)
        case "Activation" if config["activation"] == "relu":
            return op.relu(x)
        case "Activation" if config["activation"] == "softmax":
            return op.softmax(x, 1)
    raise ModelError(f"cannot convert a Keras layer of type {kind}")


def _padding(config: Config) -> str:
    return "same_upper" if config["padding"] == "same" else "valid"
