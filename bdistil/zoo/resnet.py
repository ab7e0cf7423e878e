"""Residual networks for images: a student without batch statistics, and a teacher with them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, PositiveInt
from torch import Tensor, nn

from bdistil.zoo.cnn import FINE_CELLS, halved, pooled_grid
from bdistil.zoo.registry import register_student, register_teacher

Norm = Callable[[int], nn.Module]
Channels = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


class ResidualBlock(nn.Module):
    """x plus two 3x3 convolutions of it, each after a norm and GELU; the first may have a stride.

    Args:
        inputs: channels in.
        outputs: channels out; if they differ, or with a stride, x is projected.
        stride: of the first convolution.
        norm: builds a norm for so many channels.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, norm: Norm) -> None:
        super().__init__()
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        self.layers = nn.Sequential(
            norm(inputs),
            nn.GELU(),
            nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False),
            norm(outputs),
            nn.GELU(),
            nn.Conv2d(outputs, outputs, kernel_size=3, padding=1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, outputs, height, width) of images (B, inputs, height, width)."""
        refined: Tensor = self.shortcut(x) + self.layers(x)
        return refined


def group_norm(channels: int) -> nn.Module:
    """One group: the same in training and evaluation, and candidates can be stacked."""
    return nn.GroupNorm(1, channels)


@register_student("resnet", domains=("image",), lr=1e-2, growth=1.5)
class ResNetBody(nn.Module):
    """A strided 3x3 convolution and two residual blocks of `width` and 2 x `width` channels."""

    def __init__(
        self,
        input_shape: tuple[int, ...],
        width: int,
        *,
        stages: Literal[2, 3] = 2,
        blocks: Literal[1, 2] = 1,
        cells: Literal[1, 2, 4, 8] = FINE_CELLS,
    ) -> None:
        super().__init__()
        inputs, *sides = input_shape
        layers: list[nn.Module] = [
            nn.Conv2d(inputs, width, kernel_size=3, stride=2, padding=1, bias=False)
        ]
        channels = width
        for number in range(stages * blocks):
            stride = 2 if number and number % blocks == 0 else 1  # and twice the channels
            layers.append(ResidualBlock(channels, channels * stride, stride, group_norm))
            channels *= stride
        pool, count = pooled_grid([halved(side, stages) for side in sides], cells)
        self.features = channels * count
        self.layers = nn.Sequential(*layers, group_norm(channels), nn.GELU(), pool, nn.Flatten())

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, features) of images (B, channels, height, width)."""
        hidden: Tensor = self.layers(x)
        return hidden


@register_teacher("resnet", domains=("image",))
def resnet(
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    channels: Channels = (16, 32, 64),
    blocks: PositiveInt = 2,
) -> nn.Module:
    """Stages of `channels`, each but the first halving the image, of `blocks` residual blocks."""
    stem = nn.Conv2d(input_shape[0], channels[0], kernel_size=3, padding=1, bias=False)
    stages = [_stage(channels[0], channels[0], blocks, stride=1)]
    stages += [_stage(*pair, blocks, stride=2) for pair in pairwise(channels)]
    head = nn.Linear(channels[-1], outputs)
    norm = nn.BatchNorm2d(channels[-1])
    pool = nn.AdaptiveAvgPool2d(1)
    return nn.Sequential(stem, *stages, norm, nn.GELU(), pool, nn.Flatten(), head)


def _stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    first = ResidualBlock(inputs, outputs, stride, nn.BatchNorm2d)
    rest = [ResidualBlock(outputs, outputs, 1, nn.BatchNorm2d) for _ in range(blocks - 1)]
    return nn.Sequential(first, *rest)
