"""The emotion network: a small residual net on a grey, standardised face chip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

GREY_FROM_BGR = (0.114, 0.587, 0.299)
MINIMUM_STD = 0.02  # of the range 0..1: flat pictures are not blown up without end


@dataclass(frozen=True)
class Shape:
    """Channels of the stem and of each stage, residual blocks per stage; each stage but the first halves the size."""

    stem: int = 32
    widths: Sequence[int] = (32, 64, 96, 160)
    blocks: Sequence[int] = (1, 1, 2, 1)
    dropout: float = 0.2


class Block(nn.Module):
    """Two 3x3 convolutions with a shortcut; the shortcut is pooled and projected where the size changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        nn.init.zeros_(self.norm2.weight)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut.append(nn.AvgPool2d(stride, ceil_mode=True) if stride != 1 else nn.Identity())
            self.shortcut.append(nn.Conv2d(inputs, outputs, 1, bias=False))
            self.shortcut.append(nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class EmotionNet(nn.Module):
    """Grey chips [N, 1, H, W] in 0..1 to logits [N, 7]."""

    def __init__(self, shape: Shape | None = None, side: int = 64, classes: int = 7) -> None:
        super().__init__()
        shape = shape or Shape()
        self.side = side
        self.stem = nn.Sequential(nn.Conv2d(1, shape.stem, 5, 2, 2, bias=False), nn.BatchNorm2d(shape.stem), nn.ReLU())
        layers: list[nn.Module] = []
        inputs = shape.stem
        for stage, (width, count) in enumerate(zip(shape.widths, shape.blocks, strict=True)):
            for i in range(count):
                layers.append(Block(inputs, width, 2 if i == 0 and stage > 0 else 1))
                inputs = width
        self.stages = nn.Sequential(*layers)
        self.dropout = nn.Dropout(shape.dropout)
        self.head = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] != self.side:
            x = F.interpolate(x, size=(self.side, self.side), mode="bilinear", align_corners=False)
        features = self.stages(self.stem(standardise(x))).mean((2, 3))
        return self.head(self.dropout(features))  # type: ignore[no-any-return]


def standardise(x: Tensor) -> Tensor:
    """Zero mean and unit deviation for each chip: brightness and contrast carry no expression."""
    centred = x - x.mean((1, 2, 3), keepdim=True)
    deviation = centred.square().mean((1, 2, 3), keepdim=True).sqrt()
    return centred / deviation.clamp_min(MINIMUM_STD)


def grey(chips: Tensor) -> Tensor:
    """BGR chips [N, H, W, 3], 0..255, to grey [N, 1, H, W] in 0..1."""
    blue, green, red = chips.float().unbind(3)
    b, g, r = GREY_FROM_BGR
    return (b * blue + g * green + r * red).div(255).unsqueeze(1)
