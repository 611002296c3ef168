"""Weights as published -> OpenVINO graph as the pipeline feeds it.

Input becomes uint8 (n, height, width, 3) BGR, whatever the network wants: colour order, layout, mean and scale are
part of the graph, where they are folded into the first convolution. Heads bring outputs into the form that
`streamer.analysis` decodes.
"""

from pathlib import Path

import numpy as np
import openvino as ov
from openvino import Layout, Type
from openvino import opset13 as op
from openvino.preprocess import ColorFormat, PrePostProcessor, ResizeAlgorithm

from streamer.errors import ModelError
from streamer.inference.cards import Card

CHIP_SIZE = 64


def convert(card: Card, weights: Path) -> ov.Model:
    """The graph of `card`. Raises ModelError if the file cannot be understood."""
    if card.input is None or card.output is None:
        raise ModelError(f"{card.name}: its card describes no input and output")
    model = _read(weights)
    if card.output.head == "yunet":
        model = _yunet_head(model)
    if card.output.head == "centerface":
        model.reshape([1, 3, -1, -1])
    elif card.input.crop != "frame":
        shape = model.input().partial_shape
        shape[0] = -1
        model.reshape(shape)
    if card.output.head == "mesh":
        model = _mesh_head(model)
    return _preprocess(model, card)


def _read(weights: Path) -> ov.Model:
    if weights.suffix == ".hdf5":
        from streamer.inference.keras import read_keras  # h5py is needed for nothing else

        return read_keras(weights)
    try:
        return ov.Core().read_model(weights)
    except RuntimeError as error:
        raise ModelError(f"{weights.name}: OpenVINO cannot read it: {error}") from None


def _preprocess(model: ov.Model, card: Card) -> ov.Model:
    wanted = card.input
    assert wanted is not None
    steps = PrePostProcessor(model)
    picture = steps.input()
    picture.tensor().set_element_type(Type.u8).set_layout(Layout("NHWC")).set_color_format(ColorFormat.BGR)
    if wanted.crop == "chip" and wanted.size != CHIP_SIZE:
        picture.tensor().set_spatial_static_shape(CHIP_SIZE, CHIP_SIZE)
    picture.model().set_layout(Layout(wanted.layout))
    work = picture.preprocess().convert_element_type(Type.f32)
    if card.output is not None and card.output.head == "yunet":
        # Changes nothing, but OpenVINO's CPU plugin then converts and transposes the picture in one go.
        work.custom(lambda pixels: op.clamp(pixels, 0.0, 255.0).output(0))
    if wanted.crop == "chip" and wanted.size != CHIP_SIZE:
        work.resize(ResizeAlgorithm.RESIZE_LINEAR)
    if wanted.colour == "GREY":
        work.convert_color(ColorFormat.GRAY)
    elif wanted.colour == "RGB":
        work.convert_color(ColorFormat.RGB)
    if wanted.mean:
        work.mean(list(wanted.mean))
    if wanted.scale:
        work.scale(list(wanted.scale))
    for output in range(len(model.outputs)):
        steps.output(output).tensor().set_element_type(Type.f32)
    return steps.build()


def _yunet_head(model: ov.Model) -> ov.Model:
    """Twelve outputs by stride become scores (1, cells) and offsets (1, cells, 14): box and five points."""
    levels = {
        kind: op.concat([_source(model, f"{kind}_{stride}") for stride in (8, 16, 32)], 1)
        for kind in ("cls", "obj", "bbox", "kps")
    }
    scores = op.squeeze(op.sqrt(op.multiply(levels["cls"], levels["obj"])), np.array([2]))
    offsets = op.concat([levels["bbox"], levels["kps"]], 2)
    return ov.Model([scores, offsets], model.get_parameters(), "yunet")


def _mesh_head(model: ov.Model) -> ov.Model:
    """Points (n, vertices, 3) in input pixels and the face score (n,), a logit."""
    vertices = model.output(0).partial_shape[3].get_length() // 3
    points = op.reshape(_source(model, 0), np.array([-1, vertices, 3]), False)
    score = op.reshape(_source(model, 1), np.array([-1]), False)
    return ov.Model([points, score], model.get_parameters(), "mesh")


def _source(model: ov.Model, output: str | int) -> ov.Output:
    """What feeds an output: new nodes are attached there."""
    return model.output(output).get_node().input_value(0)
