"""Inverted residual students for photographs, without batch statistics (arXiv 1801.04381)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from bdistil.zoo.cnn import halved, pooled_grid
from bdistil.zoo.registry import register_student
from bdistil.zoo.separable import separable


class InvertedBlock(nn.Module):
    """x plus what it becomes by a wider 1x1 convolution, a filter a channel, and 1x1 back."""

    def __init__(self, channels: int, expansion: int, kernel: int) -> None:
        super().__init__()
        inner = channels * expansion
        self.layers = nn.Sequential(
            nn.Conv2d(channels, inner, kernel_size=1),
            nn.GELU(),
            nn.Conv2d(inner, inner, kernel, padding=kernel // 2, groups=inner),
            nn.GELU(),
            nn.Conv2d(inner, channels, kernel_size=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, channels, height, width) of images of the same shape."""
        refined: Tensor = x + self.layers(x)
        return refined


@register_student("inverted", domains=("image",), lr=4e-3, growth=1.5)
class InvertedBody(nn.Module):
    """Stages of inverted residual blocks, from `width` channels on, each on half of the grid."""

    def __init__(
        self,
        input_shape: tuple[int, ...],
        width: int,
        *,
        stages: Literal[2, 3, 4] = 2,
        blocks: Literal[1, 2, 3] = 1,
        expansion: Literal[2, 4, 6] = 2,
        kernel: Literal[3, 5] = 3,
        cells: Literal[1, 2, 4, 8] = 4,
    ) -> None:
        super().__init__()
        inputs, *sides = input_shape
        layers: list[nn.Module] = [nn.Conv2d(inputs, width, 3, stride=2, padding=1), nn.GELU()]
        channels = width
        for stage in range(stages):
            if stage:
                layers.append(separable(channels, 2 * channels, 2, kernel))
                channels *= 2
            layers += [InvertedBlock(channels, expansion, kernel) for _ in range(blocks)]
        pool, count = pooled_grid([halved(side, stages) for side in sides], cells)
        self.features = channels * count
        self.layers = nn.Sequential(*layers, pool, nn.Flatten())

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, features) of images (B, channels, height, width)."""
        hidden: Tensor = self.layers(x)
        return hidden
