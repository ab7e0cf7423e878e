"""Teachers: networks large enough to be worth distilling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

from pydantic import Field, PositiveInt
from torch import Tensor, nn

from bdistil.names import DOMAINS
from bdistil.zoo.cnn import CELLS, halved, pooled_grid, pooled_line
from bdistil.zoo.recurrent import RecurrentBody
from bdistil.zoo.registry import register_teacher

Sizes = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
Share = Annotated[float, Field(ge=0, lt=1)]


@register_teacher("mlp", domains=DOMAINS)
def mlp(
    input_shape: tuple[int, ...], outputs: int, *, widths: Sizes = (256, 128), dropout: Share = 0.0
) -> nn.Module:
    """Hidden layers of `widths` units over the flattened input."""
    return nn.Sequential(nn.Flatten(), *_dense(math.prod(input_shape), widths, outputs, dropout))


@register_teacher("cnn", domains=("image",))
def cnn(
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    channels: Sizes = (32, 64),
    hidden: PositiveInt = 128,
    dropout: Share = 0.0,
) -> nn.Module:
    """3x3 convolutions of `channels`, each halving the image, then `hidden` units."""
    inputs, *sides = input_shape
    blocks = [_block2d(*pair) for pair in pairwise((inputs, *channels))]
    pool, cells = pooled_grid([halved(side, len(channels)) for side in sides], CELLS)
    head = _dense(channels[-1] * cells, (hidden,), outputs, dropout)
    return nn.Sequential(*blocks, pool, nn.Flatten(), *head)


@register_teacher("cnn1d", domains=("sequence",))
def cnn1d(
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    channels: Sizes = (32, 64),
    hidden: PositiveInt = 128,
    dropout: Share = 0.0,
) -> nn.Module:
    """Convolutions of `channels` along time, each halving it, then `hidden` units."""
    steps, inputs = input_shape
    blocks = [block_along_time(*pair) for pair in pairwise((inputs, *channels))]
    pool, cells = pooled_line(halved(steps, len(channels)), CELLS)
    head = _dense(channels[-1] * cells, (hidden,), outputs, dropout)
    return nn.Sequential(TimeLast(), *blocks, pool, nn.Flatten(), *head)


@register_teacher("gru", domains=("sequence",))
def gru(
    input_shape: tuple[int, ...], outputs: int, *, width: PositiveInt = 64, layers: PositiveInt = 1
) -> nn.Module:
    """Gated recurrent layers of `width` units; the last step decides."""
    layer = nn.GRU(input_shape[-1], width, num_layers=layers, batch_first=True)
    return nn.Sequential(RecurrentBody(layer, width), nn.Linear(width, outputs))


@register_teacher("lstm", domains=("sequence",))
def lstm(
    input_shape: tuple[int, ...], outputs: int, *, width: PositiveInt = 64, layers: PositiveInt = 1
) -> nn.Module:
    """Long short-term memory layers of `width` units; the last step decides."""
    layer = nn.LSTM(input_shape[-1], width, num_layers=layers, batch_first=True)
    return nn.Sequential(RecurrentBody(layer, width), nn.Linear(width, outputs))


class TimeLast(nn.Module):
    """Turns (B, time, features) into the (B, features, time) that convolutions read."""

    def forward(self, x: Tensor) -> Tensor:
        """The transposed sequences."""
        return x.transpose(1, 2)


def _dense(inputs: int, widths: Sequence[int], outputs: int, dropout: float) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise((inputs, *widths)):
        layers += [nn.Linear(fan_in, fan_out), nn.GELU(), nn.Dropout(dropout)]
    return [*layers, nn.Linear(widths[-1], outputs)]


def _block2d(inputs: int, outputs: int) -> nn.Module:
    convolution = nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False)
    pool = nn.MaxPool2d(2, ceil_mode=True)  # a side of 1 stays 1
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.GELU(), pool)


def block_along_time(inputs: int, outputs: int) -> nn.Module:
    """Convolution, norm, activation and a pooling that halves the steps, of (B, inputs, time)."""
    convolution = nn.Conv1d(inputs, outputs, kernel_size=5, padding=2, bias=False)
    pool = nn.MaxPool1d(2, ceil_mode=True)
    return nn.Sequential(convolution, nn.BatchNorm1d(outputs), nn.GELU(), pool)
