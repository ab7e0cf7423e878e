"""Fully convolutional networks for sequences: mean and maximum over the whole of time decide.

After Wang, Yan and Oates (arXiv 1611.06455), who take the mean alone. Where in a sequence something
happens hardly matters to them, which is what recordings and most sensors ask for: with unseen
speakers they answer far better than networks that keep their cells of time apart. Two layers see
too little to tell when something happened, as the teacher's four do, so students have slopes.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from bdistil.zoo.cnn import strided_along_time
from bdistil.zoo.registry import register_student, register_teacher
from bdistil.zoo.teachers import Share, Sizes, TimeLast, block_along_time


class MeanAndMaximum(nn.Module):
    """Turns (B, channels, time, ...) into mean and maximum of each channel, (B, channels, 2)."""

    def forward(self, x: Tensor) -> Tensor:
        """The mean, then the maximum."""
        return _mean_and_maximum(x, range(2, x.dim()))

    def for_members(self, weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """The same of (B, K, channels, time, ...)."""
        return _mean_and_maximum(x, range(3, x.dim()))


def _mean_and_maximum(x: Tensor, axes: range) -> Tensor:
    return torch.stack([x.mean(dim=tuple(axes)), x.amax(dim=tuple(axes))], dim=-1)


class Slopes(nn.Module):
    """Adds a line over time to each channel of (B, channels, time); all start level, at zero.

    Mean and maximum over time forget when something happened. What rises or falls with time tells.

    Args:
        channels: of them.
        steps: of time.
    """

    time: Tensor

    def __init__(self, channels: int, steps: int) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.zeros(channels, 1))
        self.register_buffer("time", torch.linspace(-1, 1, steps), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Minus the slope more at the first step, and the slope more at the last."""
        return x + self.slope * self.time

    def for_members(self, weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """The same of (B, K, channels, time), with slopes of their own."""
        return x + weights["slope"] * weights["time"][0]


@register_student("fcn", domains=("sequence",), lr=1e-2, growth=1.6)
class FCNBody(nn.Module):
    """Strided convolutions along time, of `width` and twice the channels; mean and maximum.

    Slopes before the last activation let these know when something happened. More than two layers
    see longer shapes.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        width: int,
        *,
        kernel: Literal[3, 5, 9] = 5,
        second_kernel: Literal[3, 5, 9] = 3,
        depth: Literal[2, 3, 4] = 2,
    ) -> None:
        super().__init__()
        layers, steps = strided_along_time(input_shape, width, kernel, second_kernel, depth)
        layers.insert(-1, Slopes(2 * width, steps))
        self.features = 4 * width
        self.layers = nn.Sequential(*layers, MeanAndMaximum(), nn.Flatten())

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, features) of sequences (B, time, inputs)."""
        hidden: Tensor = self.layers(x.transpose(1, 2))
        return hidden


@register_teacher("fcn", domains=("sequence",))
def fcn(
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    channels: Sizes = (64, 64, 128, 128),
    dropout: Share = 0.3,
) -> nn.Module:
    """Convolutions of `channels` along time, each halving it; mean and maximum over time decide."""
    blocks = [block_along_time(*pair) for pair in pairwise((input_shape[-1], *channels))]
    head = nn.Linear(2 * channels[-1], outputs)
    last = (MeanAndMaximum(), nn.Flatten(), nn.Dropout(dropout), head)
    return nn.Sequential(TimeLast(), *blocks, *last)
