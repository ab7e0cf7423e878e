"""Students with one hidden layer."""

from __future__ import annotations

import math

from torch import Tensor, nn

from bdistil.names import DOMAINS
from bdistil.zoo.registry import register_student


@register_student("mlp", domains=DOMAINS, lr=2e-2, growth=1.25)
class MLPBody(nn.Module):
    """One hidden layer of `width` units over the flattened input."""

    def __init__(self, input_shape: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.features = width
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(math.prod(input_shape), width),
            nn.GELU(),  # tiny ReLU students die
        )

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, width) of inputs (B, *input_shape)."""
        hidden: Tensor = self.layers(x)
        return hidden
