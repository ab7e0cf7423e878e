"""Students that read a sequence step by step."""

from __future__ import annotations

from torch import Tensor, nn

from bdistil.zoo.fastgrnn import FastGRNN
from bdistil.zoo.registry import register_student


class RecurrentBody(nn.Module):
    """Recurrent layers; the state after the last step is the features.

    Args:
        layer: from sequences (B, time, inputs) to states (B, time, width) and more.
        width: units of the layer.
    """

    def __init__(self, layer: nn.Module, width: int) -> None:
        super().__init__()
        self.features = width
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, width) of sequences (B, time, inputs)."""
        outputs: Tensor = self.layer(x)[0]
        return outputs[:, -1]


@register_student("gru", domains=("sequence",), lr=2e-2, growth=1.25)
def gru(input_shape: tuple[int, ...], width: int) -> nn.Module:
    """One gated recurrent layer of `width` units; the state after the last step."""
    return RecurrentBody(nn.GRU(input_shape[-1], width, batch_first=True), width)


@register_student("lstm", domains=("sequence",), lr=2e-2, growth=1.25)
def lstm(input_shape: tuple[int, ...], width: int) -> nn.Module:
    """One long short-term memory layer of `width` units; the state after the last step."""
    return RecurrentBody(nn.LSTM(input_shape[-1], width, batch_first=True), width)


@register_student("fastgrnn", domains=("sequence",), lr=2e-2, growth=1.25)
def fastgrnn(input_shape: tuple[int, ...], width: int) -> nn.Module:
    """One FastGRNN layer of `width` units, a third of a GRU; the state after the last step."""
    return RecurrentBody(FastGRNN(input_shape[-1], width), width)
