"""Augmentation of face chips, a batch at a time in torch: geometry, light, sharpness, compression, occlusion, mixup."""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from chips import CHIP, TEMPLATE
from torch import Generator, Tensor
from torch.nn import functional as F

MIRROR = [1, 0, 2, 4, 3]  # order of the five points after a flip
POINT_NOISE = 0.03  # of the distance between the eyes: what a detector's points scatter
ROTATION, LOG_SCALE, SHIFT, STRETCH, SHEAR = 0.14, 0.10, 0.05, 0.06, 0.06


class Augment:
    """Turns source pictures and their points into augmented grey chips; every draw comes from one generator."""

    def __init__(self, generator: Generator, strength: float = 1.0) -> None:
        self._generator = generator
        self._strength = strength

    def _normal(self, *size: int) -> Tensor:
        return torch.randn(*size, generator=self._generator)

    def _uniform(self, low: float, high: float, *size: int) -> Tensor:
        return torch.rand(*size, generator=self._generator) * (high - low) + low

    def _chance(self, p: float, *size: int) -> Tensor:
        return torch.rand(*size, generator=self._generator) < p * self._strength

    def __call__(self, sources: Tensor, points: Tensor) -> Tensor:
        """Sources [N, S, S] uint8 and points [N, 5, 2] to chips [N, 1, 64, 64] in 0..1."""
        x = self._warp(sources.float().unsqueeze(1) / 255, points)
        x = self._light(x)
        x = self._sharpness(x)
        x = self._resolution(x)
        x = self._compress(x)
        x = (
            x
            + self._uniform(0, 0.04, len(x), 1, 1, 1).square()
            * 20
            * self._normal(*x.shape)
            * self._chance(0.3, len(x), 1, 1, 1)
        ).clamp(0, 1)
        return self._cutout(x)

    def _warp(self, x: Tensor, points: Tensor) -> Tensor:
        """Samples the chip through the alignment of noisy points, jittered and flipped."""
        n, side, k = len(x), x.shape[-1], self._strength
        eyes = (points[:, 0] - points[:, 1]).norm(dim=1).view(n, 1, 1)
        noisy = points + self._normal(n, 5, 2) * eyes * POINT_NOISE * k
        inverse = chip_to_picture(noisy)
        angle, scale = self._normal(n) * ROTATION * k, (self._normal(n) * LOG_SCALE * k).exp()
        stretch = (self._normal(n) * STRETCH * k).exp()
        cos, sin, zero = angle.cos() * scale, angle.sin() * scale, torch.zeros(n)
        jitter = torch.stack([torch.stack([cos * stretch, -sin], 1), torch.stack([sin, cos / stretch], 1)], 1)
        shear = torch.stack(
            [torch.stack([zero + 1, self._normal(n) * SHEAR * k], 1), torch.stack([zero, zero + 1], 1)], 1
        )
        jitter = jitter @ shear
        jitter[:, :, 0] *= torch.where(self._uniform(0, 1, n) < 0.5, -1.0, 1.0).unsqueeze(1)
        middle = torch.tensor([(CHIP - 1) / 2, (CHIP - 1) / 2])
        shift = self._normal(n, 2) * SHIFT * k * CHIP
        linear = inverse[:, :, :2] @ jitter
        offset = inverse[:, :, 2] + (inverse[:, :, :2] @ (middle + shift).unsqueeze(2)).squeeze(2) - (linear @ middle)
        return sample(x, torch.cat([linear, offset.unsqueeze(2)], 2), side)

    def _light(self, x: Tensor) -> Tensor:
        """Gamma, contrast around the mean, and light that falls in from one side."""
        n = len(x)
        x = x.clamp(1e-3, 1).pow((self._normal(n, 1, 1, 1) * 0.35 * self._strength).exp())
        ramp = torch.linspace(-1, 1, CHIP)
        angle, slope = (
            self._uniform(0, 2 * math.pi, n, 1, 1, 1),
            self._uniform(0, 0.7, n, 1, 1, 1) * self._chance(0.5, n, 1, 1, 1),
        )
        x = x * (1 + slope * (angle.cos() * ramp + angle.sin() * ramp.view(-1, 1)))
        mean = x.mean((1, 2, 3), keepdim=True)
        x = (x - mean) * (self._normal(n, 1, 1, 1) * 0.25).exp() + mean + self._normal(n, 1, 1, 1) * 0.1
        return x.clamp(0, 1)

    def _sharpness(self, x: Tensor) -> Tensor:
        """Away from a blurred copy (sharper than the source) or towards it."""
        p = F.pad(x, (2, 2, 2, 2), mode="replicate")
        p = (p[..., :-4] + p[..., 4:] + 4 * (p[..., 1:-3] + p[..., 3:-1]) + 6 * p[..., 2:-2]) / 16
        blurred = (p[:, :, :-4] + p[:, :, 4:] + 4 * (p[:, :, 1:-3] + p[:, :, 3:-1]) + 6 * p[:, :, 2:-2]) / 16
        amount = self._uniform(-1.0, 2.0, len(x), 1, 1, 1) * self._chance(0.6, len(x), 1, 1, 1)
        return (x + amount * (x - blurred)).clamp(0, 1)

    def _resolution(self, x: Tensor) -> Tensor:
        """A part of the batch as if it came from a smaller face."""
        for part in self._parts(len(x), 0.25, 2):
            side = int(torch.randint(20, 52, (1,), generator=self._generator))
            small = F.interpolate(x[part], size=(side, side), mode="bilinear", antialias=True, align_corners=False)
            x[part] = F.interpolate(small, size=(CHIP, CHIP), mode="bilinear", align_corners=False)
        return x

    def _parts(self, n: int, share: float, count: int) -> list[Tensor]:
        chosen = torch.randperm(n, generator=self._generator)[: int(n * share * self._strength)]
        return list(chosen.chunk(count))

    def _compress(self, x: Tensor) -> Tensor:
        """JPEG on a part of the batch."""
        (part,) = self._parts(len(x), 0.2, 1)
        quality = torch.randint(15, 80, (len(part),), generator=self._generator).tolist()
        for index, q in zip(part.tolist(), quality, strict=True):
            picture = (x[index, 0] * 255).round().to(torch.uint8).numpy()
            _, code = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, q])
            x[index, 0] = torch.from_numpy(np.asarray(cv2.imdecode(code, cv2.IMREAD_GRAYSCALE), np.float32)) / 255
        return x

    def _cutout(self, x: Tensor) -> Tensor:
        """One box of one grey over half of the chips: hands, hair, glasses, the edge of the picture."""
        n = len(x)
        centre, half = self._uniform(0, CHIP, n, 2, 1), self._uniform(3, 14, n, 2, 1) * self._chance(0.5, n, 1, 1)
        place = torch.arange(CHIP)
        inside = (place - centre).abs() < half
        box = inside[:, 0].unsqueeze(1) & inside[:, 1].unsqueeze(2)
        return torch.where(box.unsqueeze(1), self._uniform(0, 1, n, 1, 1, 1), x)

    def mixup(self, x: Tensor, targets: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
        """Blends each chip with another one and the targets alike; the stronger share stays with the chip itself."""
        if alpha <= 0 or float(self._uniform(0, 1, 1)) < 0.4:
            return x, targets
        share = torch.from_numpy(
            np.random.default_rng(int(torch.randint(2**31, (1,), generator=self._generator))).beta(alpha, alpha, len(x))
        ).float()
        share = torch.maximum(share, 1 - share)
        other = torch.randperm(len(x), generator=self._generator)
        s = share.view(-1, 1, 1, 1)
        return x * s + x[other] * (1 - s), targets * share.view(-1, 1) + targets[other] * (1 - share.view(-1, 1))


def chip_to_picture(points: Tensor) -> Tensor:
    """Inverse of the least-squares alignment of [N, 5, 2] points: [N, 2, 3], chip pixels to picture pixels."""
    template = torch.tensor(TEMPLATE * CHIP, dtype=torch.float32)
    mean, goal_mean = points.mean(1), template.mean(0)
    s, t = points - mean.unsqueeze(1), template - goal_mean
    norm = s.square().sum((1, 2))
    a = (s * t).sum((1, 2)) / norm
    b = (s[..., 0] * t[..., 1] - s[..., 1] * t[..., 0]).sum(1) / norm
    size = a.square() + b.square()
    linear = torch.stack([torch.stack([a, b], 1), torch.stack([-b, a], 1)], 1) / size.view(-1, 1, 1)
    return torch.cat([linear, (mean - linear @ goal_mean).unsqueeze(2)], 2)


def sample(x: Tensor, matrix: Tensor, side: int) -> Tensor:
    """Chips from pictures [N, 1, S, S] through chip-to-picture matrices [N, 2, 3]; edges replicated."""
    ramp = torch.arange(CHIP, dtype=torch.float32)
    grid = torch.stack(torch.meshgrid(ramp, ramp, indexing="xy"), 2).view(1, -1, 2)
    place = grid @ matrix[:, :, :2].transpose(1, 2) + matrix[:, :, 2].unsqueeze(1)
    place = (place * 2 + 1) / side - 1
    return F.grid_sample(
        x, place.view(len(x), CHIP, CHIP, 2), mode="bilinear", padding_mode="border", align_corners=False
    )
