"""Depthwise-separable students: spatial filters a channel, mixed by 1x1 convolutions."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from bdistil.zoo.activations import ACTIVATIONS, Activation
from bdistil.zoo.cnn import FINE_CELLS, halved, pooled_grid
from bdistil.zoo.registry import register_student


@register_student("separable", domains=("image",), lr=1e-2, growth=1.5)
class SeparableBody(nn.Module):
    """A 3x3 convolution and two depthwise-separable ones, of up to 2 x `width` channels."""

    def __init__(
        self,
        input_shape: tuple[int, ...],
        width: int,
        *,
        depth: Literal[1, 2, 3, 4, 6] = 2,
        kernel: Literal[3, 5] = 3,
        cells: Literal[1, 2, 4, 8] = FINE_CELLS,
        activation: Activation = "gelu",
    ) -> None:
        super().__init__()
        inputs, *sides = input_shape
        layers: list[nn.Module] = [
            nn.Conv2d(inputs, width, kernel_size=3, stride=2, padding=1),
            ACTIVATIONS[activation](),
        ]
        halvings, channels = 1, width
        for number in range(depth):
            stride = 1 if number % 2 else 2  # and twice the channels, as long as there is a grid
            layers.append(separable(channels, channels * stride, stride, kernel, activation))
            halvings, channels = halvings + stride - 1, channels * stride
        pool, count = pooled_grid([halved(side, halvings) for side in sides], cells)
        self.features = channels * count
        self.layers = nn.Sequential(*layers, pool, nn.Flatten())

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, features) of images (B, channels, height, width)."""
        hidden: Tensor = self.layers(x)
        return hidden


def separable(
    inputs: int, outputs: int, stride: int, kernel: int, activation: Activation = "gelu"
) -> nn.Sequential:
    """A filter for each channel, then a mixture of all channels at each place."""
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, kernel, stride, padding=kernel // 2, groups=inputs),
        nn.Conv2d(inputs, outputs, kernel_size=1),
        ACTIVATIONS[activation](),
    )
