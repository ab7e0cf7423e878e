"""Convolutional students for images and sequences, plain ones.

On 8x8 images plain patches that keep their place have the best accuracy per FLOP at 1 to 32
channels; photographs need the two layers of `convnet` and a grid as fine as their small images
give (on FashionMNIST, averaging its 7x7 cells into 4x4 cost two points). On sequences, two strided
convolutions and a small pooled grid did best.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Literal

from torch import Tensor, nn

from bdistil.zoo.activations import ACTIVATIONS, Activation
from bdistil.zoo.registry import register_student

CELLS: Final = (
    4  # a side; features keep their cells apart, so that few channels still see where things are
)
FINE_CELLS: Final = (
    8  # a side, for features of several layers: 28 and 32 pixels, halved twice, stay whole
)


def halved(side: int, times: int = 1) -> int:
    """A side after so many 3x3 convolutions of stride 2, or poolings by 2, that keep its rim."""
    for _ in range(times):
        side = (side + 1) // 2
    return side


def pooled_grid(sides: Sequence[int], cells: int) -> tuple[nn.Module, int]:
    """Average pooling of an image into at most `cells` a side, and the number of all cells."""
    kernels, strides, counts = zip(*(windows(side, cells) for side in sides), strict=True)
    whole = math.prod(kernels) == 1  # runtimes would copy what is there already
    return nn.Identity() if whole else nn.AvgPool2d(kernels, strides), math.prod(counts)


def pooled_line(steps: int, cells: int) -> tuple[nn.Module, int]:
    """Average pooling of a sequence into at most `cells`, and how many these are."""
    kernel, stride, count = windows(steps, cells)
    return nn.Identity() if kernel == 1 else nn.AvgPool1d(kernel, stride), count


def windows(side: int, cells: int) -> tuple[int, int, int]:
    """Kernel and stride that cover a whole side, and how many cells (at most `cells`) they make."""
    cells = min(cells, side)
    stride = side // cells
    return side - (cells - 1) * stride, stride, cells


@register_student("cnn", domains=("image",), lr=1e-2, growth=1.6)
class CNNBody(nn.Module):
    """A convolution of `width` channels over a 4x4 grid of image patches."""

    def __init__(
        self, input_shape: tuple[int, ...], width: int, *, activation: Activation = "gelu"
    ) -> None:
        super().__init__()
        channels, *sides = input_shape
        kernels, strides, cells = zip(*(windows(side, CELLS) for side in sides), strict=True)
        self.features = width * math.prod(cells)
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, kernels, strides), ACTIVATIONS[activation](), nn.Flatten()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, features) of images (B, channels, height, width)."""
        hidden: Tensor = self.layers(x)
        return hidden


@register_student("convnet", domains=("image",), lr=4e-3, growth=1.5)
class ConvNetBody(nn.Module):
    """Two 3x3 convolutions of stride 2, of `width` and 2 x `width` channels, in up to 8x8 cells."""

    def __init__(
        self,
        input_shape: tuple[int, ...],
        width: int,
        *,
        depth: Literal[2, 3, 4] = 2,
        kernel: Literal[3, 5] = 3,
        cells: Literal[1, 2, 4, 8] = FINE_CELLS,
        activation: Activation = "gelu",
    ) -> None:
        super().__init__()
        inputs, *sides = input_shape
        pool, count = pooled_grid([halved(side, 2) for side in sides], cells)
        self.features = 2 * width * count
        padding = kernel // 2
        layers: list[nn.Module] = []
        for number in range(depth):
            outputs, stride = (width, 2) if number == 0 else (2 * width, 2 if number == 1 else 1)
            convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding)
            layers += [convolution, ACTIVATIONS[activation]()]
            inputs = outputs
        self.layers = nn.Sequential(*layers, pool, nn.Flatten())

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, features) of images (B, channels, height, width)."""
        hidden: Tensor = self.layers(x)
        return hidden


@register_student("cnn1d", domains=("sequence",), lr=1e-2, growth=1.6)
class CNN1dBody(nn.Module):
    """Two strided convolutions along time, of `width` and 2 x `width` channels, in 4 cells."""

    def __init__(
        self,
        input_shape: tuple[int, ...],
        width: int,
        *,
        kernel: Literal[3, 5, 9] = 5,
        second_kernel: Literal[3, 5, 9] = 3,
        cells: Literal[1, 4, 8] = CELLS,
    ) -> None:
        super().__init__()
        layers, steps = strided_along_time(input_shape, width, kernel, second_kernel)
        pool, count = pooled_line(steps, cells)
        self.features = 2 * width * count
        self.layers = nn.Sequential(*layers, pool, nn.Flatten())

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, features) of sequences (B, time, inputs)."""
        hidden: Tensor = self.layers(x.transpose(1, 2))
        return hidden


def strided_along_time(
    input_shape: tuple[int, ...], width: int, kernel: int, next_kernel: int, depth: int = 2
) -> tuple[list[nn.Module], int]:
    """Strided convolutions of (B, inputs, time) with their activations, and the steps left.

    Args:
        input_shape: (time, inputs).
        width: channels of the first one; all others have twice as many.
        kernel: of the first one.
        next_kernel: of all others.
        depth: how many; from the third on, each halves the steps as long as some are left.
    """
    steps, inputs = input_shape
    stride = min(4, max(1, steps // CELLS))  # short sequences keep four cells
    layers: list[nn.Module] = [nn.Conv1d(inputs, width, kernel, stride, padding=kernel // 2)]
    left, channels = (steps - 1) // stride + 1, width
    for number in range(2, depth + 1):
        stride = 2 if number == 2 or left >= 2 * CELLS else 1
        padding = next_kernel // 2
        layers += [nn.GELU(), nn.Conv1d(channels, 2 * width, next_kernel, stride, padding=padding)]
        left, channels = (left - 1) // stride + 1, 2 * width
    return [*layers, nn.GELU()], left
