"""Export to OpenVINO with calibration inside the graph, and the figures of an exported model."""

from __future__ import annotations

import json
import time
from pathlib import Path

import data
import numpy as np
import openvino as ov
import torch
from cv2.typing import MatLike
from net import EmotionNet, grey
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

FloatArray = NDArray[np.float32]


class Product(nn.Module):
    """Chips [N, 64, 64, 3] u8 BGR to calibrated probabilities [N, 7]; several nets answer with their mean logits."""

    scale: Tensor
    bias: Tensor

    def __init__(self, models: list[EmotionNet], mirror: bool = False) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)
        self.mirror = mirror
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("bias", torch.zeros(len(data.CLASSES)))

    def logits(self, chips: Tensor) -> Tensor:
        x = grey(chips)
        views = [x, x.flip(3)] if self.mirror else [x]
        return torch.stack([m(v) for m in self.models for v in views]).mean(0)

    def forward(self, chips: Tensor) -> Tensor:
        return (self.logits(chips) * self.scale + self.bias).softmax(1)


@torch.no_grad()
def all_logits(product: Product, chips: MatLike) -> Tensor:
    parts = [torch.from_numpy(np.ascontiguousarray(chips[i : i + 256])) for i in range(0, len(chips), 256)]
    return torch.cat([product.logits(p) for p in parts])


def calibrate(product: Product, validation: data.Faces, tau: float) -> None:
    """Fits the temperature to the validation set; `tau` moves the classes towards (+) or from (-) their frequency."""
    logits, labels = all_logits(product, validation.chips), torch.from_numpy(validation.labels)
    prior = torch.bincount(labels, minlength=len(data.CLASSES)).float()
    bias = tau * (prior / prior.sum()).log()
    bias -= bias.mean()
    scales = torch.logspace(-0.7, 0.7, 141)
    losses = torch.stack([F.cross_entropy((logits + bias) * s, labels) for s in scales])
    best = scales[int(losses.argmin())]
    product.scale.copy_(best)
    product.bias.copy_(bias * best)


def export(models: list[EmotionNet], cache: Path, out: Path, tau: float = 0.0, mirror: bool = False) -> None:
    """Writes OUT.xml, OUT.bin (fp16) and OUT.npz (the plain weights of every net, with the calibration)."""
    product = Product(models, mirror).eval()
    calibrate(product, data.load(cache, "validation"), tau)
    example = torch.zeros(2, 64, 64, 3, dtype=torch.uint8)
    model = ov.convert_model(product, example_input=example, input=[ov.PartialShape([-1, 64, 64, 3])])
    model.inputs[0].get_tensor().set_names({"chips"})
    model.outputs[0].get_tensor().set_names({"probabilities"})
    model.set_rt_info(",".join(data.CLASSES), "classes")
    out.parent.mkdir(parents=True, exist_ok=True)
    ov.save_model(model, out.with_suffix(".xml"), compress_to_fp16=True)
    np.savez_compressed(out.with_suffix(".npz"), **{k: v.numpy() for k, v in product.state_dict().items()})
    count = sum(p.numel() for p in product.parameters())
    print(
        json.dumps(
            {"parameters": count, "bytes": out.with_suffix(".bin").stat().st_size, "scale": float(product.scale)}
        )
    )


def calibration_error(probabilities: FloatArray, labels: NDArray[np.int64], bins: int = 15) -> float:
    """Expected calibration error of the top class over equal bins of confidence."""
    confidence, hit = probabilities.max(1), probabilities.argmax(1) == labels
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        (place == b).sum() * abs(hit[place == b].mean() - confidence[place == b].mean())
        for b in range(bins)
        if (place == b).any()
    ]
    return float(sum(gaps) / len(labels))


def report(probabilities: FloatArray, faces: data.Faces) -> dict[str, object]:
    """All figures of one set; `strict` counts a face that was not found as wrong, as the scorer does."""
    labels, guess = faces.labels, probabilities.argmax(1)
    hits = guess == labels
    confusion = np.zeros((7, 7), int)
    np.add.at(confusion, (labels, guess), 1)
    present = [c for c in range(7) if (labels == c).any()]
    strict = hits & faces.found
    return {
        "pictures": len(labels),
        "not_found": int((~faces.found).sum()),
        "accuracy": float(hits.mean()),
        "balanced": float(np.mean([hits[labels == c].mean() for c in present])),
        "strict_accuracy": float(strict.mean()),
        "strict_balanced": float(np.mean([strict[labels == c].mean() for c in present])),
        "calibration_error": calibration_error(probabilities, labels),
        "recall": {data.CLASSES[c]: round(float(hits[labels == c].mean()), 3) for c in present},
        "confusion": confusion.tolist(),
    }


def latency(compiled: ov.CompiledModel, batch: int) -> float:
    """Median milliseconds a face."""
    request, x = (
        compiled.create_infer_request(),
        np.random.default_rng(0).integers(0, 256, (batch, 64, 64, 3), np.uint8),
    )
    times = []
    for _ in range(220):
        start = time.perf_counter()
        request.infer([x])
        times.append(time.perf_counter() - start)
    return float(np.median(times[20:])) * 1000 / batch


def evaluate(path: Path, cache: Path) -> None:
    """Prints one JSON object: figures of each set in the machine's own precision, and milliseconds a face."""
    core = ov.Core()
    result: dict[str, object] = {}
    for precision in ("bf16", "f32"):
        config = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": precision}
        compiled = core.compile_model(core.read_model(path), "CPU", config)
        result[f"ms_{precision}"] = {f"batch_{n}": round(latency(compiled, n), 3) for n in (1, 8)}
        for name in ["validation", *data.prepared_tests(cache)]:
            faces = data.load(cache, name)
            parts = [compiled(np.ascontiguousarray(faces.chips[i : i + 64]))[0] for i in range(0, len(faces.chips), 64)]
            result[f"{name}_{precision}"] = report(np.concatenate(parts), faces)
    print(json.dumps(result, indent=1))
