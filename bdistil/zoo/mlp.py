"""Students of hidden layers."""

from __future__ import annotations

import itertools
import math
from typing import Literal

from torch import Tensor, nn

from bdistil.names import DOMAINS
from bdistil.zoo.activations import ACTIVATIONS, Activation
from bdistil.zoo.registry import register_student


@register_student("mlp", domains=DOMAINS, lr=2e-2, growth=1.25)
class MLPBody(nn.Module):
    """Hidden layers of `width` units over the flattened input: one, unless more are asked for."""

    def __init__(
        self,
        input_shape: tuple[int, ...],
        width: int,
        *,
        depth: Literal[1, 2, 3] = 1,
        activation: Activation = "gelu",
    ) -> None:
        super().__init__()
        self.features = width
        sizes = [math.prod(input_shape), *[width] * depth]
        layers = [
            layer
            for inputs, outputs in itertools.pairwise(sizes)
            for layer in (nn.Linear(inputs, outputs), ACTIVATIONS[activation]())
        ]
        self.layers = nn.Sequential(nn.Flatten(), *layers)

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, width) of inputs (B, *input_shape)."""
        hidden: Tensor = self.layers(x)
        return hidden
