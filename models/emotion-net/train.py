#!/usr/bin/env python3
"""Trains, exports and evaluates the facial-emotion network.

    train.py recipe   --archive emotion_fer2013.zip [--tests open/emotion] --out emotion
                      (everything below, in order; estimated at 90 minutes or more)

    train.py prepare  --archive emotion_fer2013.zip [--tests open/emotion]
    train.py train    --name a --epochs 46
    train.py train    --name b --start-from a --teacher a             (learns from the labels and from `a`)
    train.py export   --names b a --out emotion
    train.py evaluate --model emotion.xml

Every step reads and writes under --cache. `train` goes on where it was stopped: the state is written after each epoch
and the draws of an epoch depend on the seed and the number of the epoch alone.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import data
import export
import numpy as np
import torch
from augment import Augment, chip_to_picture, sample
from cv2.typing import MatLike
from net import EmotionNet, Shape, grey
from optim import Muon
from torch import Tensor
from torch.nn import functional as F

SHAPE = Shape(24, (32, 64, 96, 128), (0, 2, 2, 1))
WARMUP_EPOCHS, CALM_STRENGTH = 1.0, 0.7


@dataclass(frozen=True)
class Settings:
    """What a training run depends on."""

    epochs: int = 46
    side: int = 48  # chips are shrunk to this inside the net: 48 trains almost twice as fast as 64
    calm_epochs: int = 0  # the last so many epochs have no mixup and the augmentation of the first nets
    seed: int = 1
    batch: int = 128
    rate: float = 0.015  # length of a step of a convolution relative to its weights
    plain_rate: float = 0.05  # of the normalisations and the last layer
    momentum: float = 0.9
    decay: float = 5e-4
    smoothing: float = 0.1
    balance: float = 0.5  # class weights: frequency to the power of minus this
    mixup: float = 0.0
    strength: float = CALM_STRENGTH  # of the augmentation
    average: float = 0.998  # of the weights, per step
    teacher_share: float = 0.6


# Two nets learn from the labels; two more go on from there, and learn from the mean of the first two as well.
FIRST = Settings()
SECOND = Settings(epochs=42, calm_epochs=13, strength=0.9, mixup=0.2)
TEACHERS, STUDENTS = {"teacher1": 21, "teacher2": 22}, {"student1": 31, "student2": 32}  # run: seed


@dataclass
class State:
    """Everything that a run carries from one epoch to the next."""

    model: EmotionNet
    averaged: EmotionNet
    optimizer: Muon
    epoch: int = 0

    def save(self, path: Path) -> None:
        parts = {name: getattr(self, name).state_dict() for name in ("model", "averaged", "optimizer")}
        parts |= {"epoch": self.epoch, "side": self.model.side}
        torch.save(parts, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)

    def load(self, path: Path) -> None:
        parts = torch.load(path, weights_only=True)
        self.model.load_state_dict(parts["model"])
        self.averaged.load_state_dict(parts["averaged"])
        self.optimizer.load_state_dict(parts["optimizer"])
        self.epoch = parts["epoch"]


def new_state(settings: Settings, device: torch.device) -> State:
    torch.manual_seed(settings.seed)
    model = EmotionNet(SHAPE, settings.side).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    convolutions = [p for p in model.parameters() if p.ndim == 4]
    others = [
        {
            "params": [p for p in model.parameters() if p.ndim == 2],
            "base": settings.plain_rate,
            "weight_decay": settings.decay,
        },
        {"params": [p for p in model.parameters() if p.ndim == 1], "base": settings.plain_rate},
    ]
    optimizer = Muon(convolutions, others, settings.rate, settings.momentum)
    return State(model, deepcopy(model).requires_grad_(False), optimizer)


def rate_at(settings: Settings, epoch: float) -> float:
    """Share of the full rate: linear warm-up, then a cosine down to nothing."""
    if epoch < WARMUP_EPOCHS:
        return 0.05 + 0.95 * epoch / WARMUP_EPOCHS
    progress = (epoch - WARMUP_EPOCHS) / (settings.epochs - WARMUP_EPOCHS)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def class_weights(labels: Tensor, balance: float) -> Tensor:
    counts = torch.bincount(labels, minlength=len(data.CLASSES)).float()
    weights = counts.pow(-balance)
    return weights * len(labels) / (weights * counts).sum()


def training_set(cache: Path, with_validation: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Sources, points and labels."""
    parts = [data.load(cache, name) for name in (("train", "validation") if with_validation else ("train",))]
    sources = torch.from_numpy(np.concatenate([p.sources for p in parts]))
    points = torch.from_numpy(np.concatenate([p.points for p in parts]))
    return sources, points, torch.from_numpy(np.concatenate([p.labels for p in parts]))


def load_model(cache: Path, name: str) -> EmotionNet:
    """The averaged weights of a run."""
    parts = torch.load(cache / f"{name}.pt", weights_only=True)
    model = EmotionNet(SHAPE, parts["side"])
    model.load_state_dict(parts["averaged"])
    return model.eval()


@torch.no_grad()
def teach(models: list[EmotionNet], sources: Tensor, points: Tensor) -> Tensor:
    """Mean probabilities of the teachers on the plain chip and its mirror image."""
    rows = []
    for i in range(0, len(sources), 256):
        s, p = sources[i : i + 256], points[i : i + 256]
        x = sample(s.float().unsqueeze(1) / 255, chip_to_picture(p), s.shape[-1])
        both = [m(v).float().softmax(1) for m in models for v in (x, x.flip(3))]
        rows.append(torch.stack(both).mean(0))
    return torch.cat(rows)


@torch.no_grad()
def predict(model: EmotionNet, chips: MatLike, device: torch.device) -> Tensor:
    """Logits of finished chips."""
    model.eval()
    parts = [torch.from_numpy(np.ascontiguousarray(chips[i : i + 256])) for i in range(0, len(chips), 256)]
    return torch.cat([model(grey(part.to(device))).float().cpu() for part in parts])


def figures(logits: Tensor, labels: Tensor) -> dict[str, float]:
    hits = logits.argmax(1) == labels
    recall = [hits[labels == c].float().mean() for c in range(len(data.CLASSES)) if (labels == c).any()]
    return {
        "accuracy": float(hits.float().mean()),
        "balanced": float(torch.stack(recall).mean()),
        "nll": float(F.cross_entropy(logits, labels)),
    }


def run_epoch(state: State, settings: Settings, tensors: tuple[Tensor, Tensor, Tensor], weights: Tensor) -> float:
    """One pass over the training set; gives the mean loss."""
    sources, points, targets = tensors
    device = weights.device
    generator = torch.Generator().manual_seed(settings.seed * 100_003 + state.epoch)
    calm = state.epoch >= settings.epochs - settings.calm_epochs
    mixup, strength = (0.0, CALM_STRENGTH) if calm else (settings.mixup, settings.strength)
    augment = Augment(generator, strength)
    order = torch.randperm(len(sources), generator=generator)
    batches = order[: len(order) // settings.batch * settings.batch].view(-1, settings.batch)
    state.model.train()
    total = 0.0
    for step, batch in enumerate(batches):
        for group in state.optimizer.param_groups:
            group["lr"] = group["base"] * rate_at(settings, state.epoch + step / len(batches))
        x, y = augment.mixup(augment(sources[batch], points[batch]), targets[batch], mixup)
        x, y = x.to(device), y.to(device)
        with torch.autocast(device.type, torch.bfloat16):
            logits = state.model(x)
        loss = -(y * weights * logits.float().log_softmax(1)).sum(1).mean()
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        state.optimizer.step()
        update_average(state, min(settings.average, 1 - 1 / (1 + 0.1 * (state.epoch * len(batches) + step))))
        total += float(loss.detach())
    return total / len(batches)


@torch.no_grad()
def update_average(state: State, keep: float) -> None:
    for mean, value in zip(state.averaged.state_dict().values(), state.model.state_dict().values(), strict=True):
        if mean.dtype.is_floating_point:
            mean.lerp_(value, 1 - keep)


def train(
    cache: Path, name: str, settings: Settings, teachers: list[str], with_validation: bool, start_from: str = ""
) -> None:
    """Trains the run `name` to its last epoch, from where it stands."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    sources, points, labels = training_set(cache, with_validation)
    weights = class_weights(labels, settings.balance)
    targets = F.one_hot(labels, len(data.CLASSES)).float() * (1 - settings.smoothing) + settings.smoothing / len(
        data.CLASSES
    )
    if teachers:
        taught = teach([load_model(cache, t) for t in teachers], sources, points)
        targets = targets * (1 - settings.teacher_share) + taught * settings.teacher_share
    state = new_state(settings, device)
    path = cache / f"{name}.pt"
    if path.exists():
        state.load(path)
    elif start_from:
        state.model.load_state_dict(load_model(cache, start_from).state_dict())
        state.averaged.load_state_dict(state.model.state_dict())
    validation = data.load(cache, "validation")
    while state.epoch < settings.epochs:
        start = time.monotonic()
        loss = run_epoch(state, settings, (sources, points, targets), weights.to(device))
        state.epoch += 1
        state.save(path)
        line = {
            "run": name,
            "epoch": state.epoch,
            "of": settings.epochs,
            "loss": loss,
            "seconds": time.monotonic() - start,
        }
        if not with_validation:
            line |= figures(predict(state.averaged, validation.chips, device), torch.from_numpy(validation.labels))
        print(json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in line.items()}), flush=True)


def recipe(args: argparse.Namespace) -> None:
    """The whole way from the archive to the exported model; a step that is done already is not done again."""
    data.prepare(args.archive, args.tests, args.cache)
    for name, seed in TEACHERS.items():
        train(args.cache, name, replace(FIRST, seed=seed), [], False)
    for (name, seed), teacher in zip(STUDENTS.items(), TEACHERS, strict=True):
        train(args.cache, name, replace(SECOND, seed=seed), list(TEACHERS), False, teacher)
    export.export([load_model(args.cache, n) for n in STUDENTS], args.cache, args.out)
    export.evaluate(args.out.with_suffix(".xml"), args.cache)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--cache", type=Path, default=Path("cache"), help="folder of the prepared pictures and of the runs"
    )
    parser.add_argument("--threads", type=int, default=2)
    steps = parser.add_subparsers(dest="step", required=True)
    for step, text in (("recipe", "all steps"), ("prepare", "find the points and warp the chips")):
        p = steps.add_parser(step, help=text)
        p.add_argument("--archive", type=Path, required=True)
        p.add_argument("--tests", type=Path, help="folder with labels.csv")
        if step == "recipe":
            p.add_argument("--out", type=Path, required=True)
    t = steps.add_parser("train", help="train one net, or go on training it")
    t.add_argument("--name", required=True)
    t.add_argument("--teacher", nargs="*", default=[], help="finished runs to learn from")
    t.add_argument("--start-from", default="", help="finished run whose averaged weights to begin with")
    t.add_argument("--with-validation", action="store_true", help="train on the validation pictures too")
    for field, default in vars(Settings()).items():
        t.add_argument(f"--{field.replace('_', '-')}", type=type(default), default=default)
    e = steps.add_parser("export", help="OpenVINO model of one net or of the mean of several")
    e.add_argument("--names", nargs="+", required=True)
    e.add_argument("--out", type=Path, required=True)
    e.add_argument(
        "--tau", type=float, default=0.0, help="moves the classes towards their frequency (+) or away from it"
    )
    e.add_argument("--mirror", action="store_true", help="look at the mirror image as well (twice the time)")
    v = steps.add_parser("evaluate", help="figures of an exported model on validation and test sets")
    v.add_argument("--model", type=Path, required=True)
    return parser.parse_args()


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    if args.step == "recipe":
        recipe(args)
    elif args.step == "prepare":
        data.prepare(args.archive, args.tests, args.cache)
    elif args.step == "train":
        settings = Settings(**{field: getattr(args, field) for field in vars(Settings())})
        train(args.cache, args.name, settings, args.teacher, args.with_validation, args.start_from)
    elif args.step == "export":
        export.export([load_model(args.cache, n) for n in args.names], args.cache, args.out, args.tau, args.mirror)
    else:
        export.evaluate(args.model, args.cache)


if __name__ == "__main__":
    main()
