"""Depthwise-separable students: spatial filters a channel, mixed by 1x1 convolutions."""

from __future__ import annotations

from torch import Tensor, nn

from bdistil.zoo.cnn import FINE_CELLS, halved, pooled_grid
from bdistil.zoo.registry import register_student


@register_student("separable", domains=("image",), lr=1e-2, growth=1.5)
class SeparableBody(nn.Module):
    """A 3x3 convolution and two depthwise-separable ones, of up to 2 x `width` channels."""

    def __init__(self, input_shape: tuple[int, ...], width: int) -> None:
        super().__init__()
        channels, *sides = input_shape
        pool, cells = pooled_grid([halved(side, 2) for side in sides], FINE_CELLS)
        self.features = 2 * width * cells
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, kernel_size=3, stride=2, padding=1),
            nn.GELU(),
            separable(width, 2 * width, stride=2),
            separable(2 * width, 2 * width, stride=1),
            pool,
            nn.Flatten(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, features) of images (B, channels, height, width)."""
        hidden: Tensor = self.layers(x)
        return hidden


def separable(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """A 3x3 filter for each channel, then a mixture of all channels at each place."""
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, kernel_size=3, stride=stride, padding=1, groups=inputs),
        nn.Conv2d(inputs, outputs, kernel_size=1),
        nn.GELU(),
    )
