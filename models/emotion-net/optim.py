"""Muon for convolutions: momentum whose update is made orthogonal, on weights of a fixed length; SGD for the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonal(gradient: Tensor, steps: int = 3) -> Tensor:
    """Nearly the closest (half-)orthogonal matrix, by a Newton-Schulz iteration of the fifth order."""
    a, b, c = COEFFICIENTS
    tall = gradient.shape[0] > gradient.shape[1]
    x: Tensor = gradient.T if tall else gradient
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Groups with `orthogonal` set hold convolutions that a normalisation follows, so that their length has no effect.

    Their length is kept at the square root of the number of outputs; `lr` is the relative length of a step. `rate`
    of the schedule multiplies the `base` of each group.
    """

    def __init__(
        self, convolutions: Iterable[Tensor], others: Iterable[dict[str, Any]], base: float, momentum: float
    ) -> None:
        groups = [{"params": list(convolutions), "base": base, "orthogonal": True}, *others]
        super().__init__(
            groups, {"momentum": momentum, "weight_decay": 0.0, "orthogonal": False, "base": 0.1, "lr": 0.0}
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        assert closure is None
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._update(p, p.grad, group)

    def _update(self, p: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        if group["weight_decay"]:
            gradient = gradient.add(p, alpha=group["weight_decay"])
        buffer = self.state[p].setdefault("momentum", torch.zeros_like(p))
        buffer.mul_(group["momentum"]).add_(gradient)
        update = gradient.add(buffer, alpha=group["momentum"])
        if group["orthogonal"]:
            p.mul_(len(p) ** 0.5 / p.norm())
            update = orthogonal(update.flatten(1)).view_as(p)
        p.add_(update, alpha=-group["lr"])
