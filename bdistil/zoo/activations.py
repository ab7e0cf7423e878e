"""Activations of student bodies, by name.

onnxruntime computes `relu` within the convolution before it and `gelu` as a layer of its own, which
is half of a small network's time. Of very few units with `relu`, some never learn.
"""

from __future__ import annotations

from typing import Final, Literal

from torch import nn

Activation = Literal["gelu", "relu", "tanh"]
ACTIVATIONS: Final[dict[Activation, type[nn.Module]]] = {
    "gelu": nn.GELU,
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
}
