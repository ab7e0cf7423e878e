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
        parts: tensors of `width` that the layer carries from step to step.

    Attributes:
        carried: shape of what :meth:`carry` carries for one sequence; None if the layer reads
            sequences from their end, too.
        unrolled: whether its loop over steps is written in Python, so that a graph of it takes a
            fixed number of steps.
    """

    def __init__(
        self, layer: nn.Module, width: int, bidirectional: bool = False, parts: int = 1
    ) -> None:
        super().__init__()
        self.carried = None if bidirectional else (parts, width)
        self.unrolled = isinstance(layer, FastGRNN)
        self.features = 2 * width if bidirectional else width
        self.width, self.bidirectional = width, bidirectional
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, features) of sequences (B, time, inputs)."""
        outputs: Tensor = self.layer(x)[0]
        if not self.bidirectional:
            return outputs[:, -1]
        return torch.cat([outputs[:, -1, : self.width], outputs[:, 0, self.width :]], dim=1)

    def carry(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, features) after more steps (B, time, inputs), and the next state.

        Args:
            x: at least one step.
            state: (B, *carried), zeros before the first step.
        """
        parts = state.transpose(0, 1).contiguous()
        if isinstance(self.layer, nn.LSTM):
            outputs, after = self.layer(x, parts.chunk(2))
            parts = torch.cat(after)
        else:
            outputs, parts = self.layer(x, parts)
        return outputs[:, -1], parts.transpose(0, 1)


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
    return RecurrentBody(layer, width, bidirectional, layers)


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
    return RecurrentBody(layer, width, bidirectional, 2 * layers)


@register_student("fastgrnn", domains=("sequence",), lr=2e-2, growth=1.25)
def fastgrnn(input_shape: tuple[int, ...], width: int) -> nn.Module:
    """One FastGRNN layer of `width` units, a third of a GRU; the state after the last step."""
    return RecurrentBody(FastGRNN(input_shape[-1], width), width)
