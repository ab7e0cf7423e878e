"""Students that read a sequence step by step."""

from __future__ import annotations

from torch import Tensor, nn

from bdistil.zoo.registry import register_student


class RecurrentBody(nn.Module):
    """Recurrent layers of `width` units; the state after the last step is the features."""

    def __init__(
        self, layer: type[nn.GRU] | type[nn.LSTM], inputs: int, width: int, layers: int = 1
    ) -> None:
        super().__init__()
        self.features = width
        self.layer = layer(inputs, width, num_layers=layers, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, width) of sequences (B, time, inputs)."""
        outputs: Tensor = self.layer(x)[0]
        return outputs[:, -1]


@register_student("gru", domains=("sequence",), lr=2e-2, growth=1.25)
def gru(input_shape: tuple[int, ...], width: int) -> nn.Module:
    """One gated recurrent layer of `width` units; the state after the last step."""
    return RecurrentBody(nn.GRU, input_shape[-1], width)


@register_student("lstm", domains=("sequence",), lr=2e-2, growth=1.25)
def lstm(input_shape: tuple[int, ...], width: int) -> nn.Module:
    """One long short-term memory layer of `width` units; the state after the last step."""
    return RecurrentBody(nn.LSTM, input_shape[-1], width)
