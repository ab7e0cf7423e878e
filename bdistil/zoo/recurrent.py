"""Students that read a sequence step by step."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from bdistil.zoo.fastgrnn import FastGRNN
from bdistil.zoo.registry import register_student


class RecurrentBody(nn.Module):
    """Recurrent layers; the state after the last step is the features.

    Args:
        layer: from sequences (B, time, inputs) to states (B, time, width) and more; of two
            directions (B, time, 2 * width).
        width: units of the layer.
        bidirectional: whether it has two directions.
    """

    def __init__(self, layer: nn.Module, width: int, bidirectional: bool = False) -> None:
        super().__init__()
        self.features = 2 * width if bidirectional else width
        self.width, self.bidirectional = width, bidirectional
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, features) of sequences (B, time, inputs)."""
        outputs: Tensor = self.layer(x)[0]
        if not self.bidirectional:
            return outputs[:, -1]
        return torch.cat([outputs[:, -1, : self.width], outputs[:, 0, self.width :]], dim=1)


@register_student("gru", domains=("sequence",), lr=2e-2, growth=1.25)
def gru(
    input_shape: tuple[int, ...],
    width: int,
    *,
    layers: Literal[1, 2] = 1,
    bidirectional: bool = False,
) -> nn.Module:
    """Gated recurrent layers of `width` units, one by default; the state after the last step."""
    layer = nn.GRU(input_shape[-1], width, layers, batch_first=True, bidirectional=bidirectional)
    return RecurrentBody(layer, width, bidirectional)


@register_student("lstm", domains=("sequence",), lr=2e-2, growth=1.25)
def lstm(
    input_shape: tuple[int, ...],
    width: int,
    *,
    layers: Literal[1, 2] = 1,
    bidirectional: bool = False,
) -> nn.Module:
    """Long short-term memory layers of `width` units, one by default; the last step's state."""
    layer = nn.LSTM(input_shape[-1], width, layers, batch_first=True, bidirectional=bidirectional)
    return RecurrentBody(layer, width, bidirectional)


@register_student("fastgrnn", domains=("sequence",), lr=2e-2, growth=1.25)
def fastgrnn(input_shape: tuple[int, ...], width: int) -> nn.Module:
    """One FastGRNN layer of `width` units, a third of a GRU; the state after the last step."""
    return RecurrentBody(FastGRNN(input_shape[-1], width), width)
