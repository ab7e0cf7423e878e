"""Layers of several networks as one layer, whose channels are theirs one after another.

Each network has some room in the channels: what it needs, or more where that is faster, such as a
multiple of what the processor takes at once. What a network does not need of its room is zero.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeGuard

import torch
from torch import Tensor, nn

from bdistil.names import Stacking

WeightLayer = nn.Linear | nn.Conv1d | nn.Conv2d
Rooms = tuple[int, ...]
"""Channels that are reserved for each network."""

LANES = 8  # convolutions are fastest on multiples of so many channels
LARGEST_SHIFT = 8.0  # in deviations; folding a larger one would cost digits of float32


class NotMergeableError(Exception):
    """Why some layers cannot be one."""


class NotFoldableError(NotMergeableError):
    """The standardisation has to be computed before the layer."""


class Affine(NamedTuple):
    """A standardisation (x - shift) / scale that a layer is to do as well, each (1, C, ...)."""

    shift: Tensor
    scale: Tensor


def parts_of(affine: Affine) -> list[tuple[Affine | None, Affine | None]]:
    """What is computed before the layers and what they do, the fastest first; all before, last."""
    shifted = Affine(affine.shift, torch.ones_like(affine.scale))
    scaled = Affine(torch.zeros_like(affine.shift), affine.scale)
    return [(None, affine), (shifted, scaled), (affine, None)]


class Apart(nn.Module):
    """Modules that each take their own channels.

    Args:
        modules: one for each network.
        rooms: of the networks, one after another.
        taken: channels that each module takes, the first of its network's room.
    """

    def __init__(self, modules: Sequence[nn.Module], rooms: Rooms, taken: Rooms) -> None:
        super().__init__()
        self.parts = nn.ModuleList(modules)
        self.rooms, self.taken = list(rooms), list(taken)

    def forward(self, x: Tensor) -> Tensor:
        """Channels of all, for channels of all, on axis 1."""
        rooms = x.split(self.rooms, dim=1)
        owns = [rooms[place] for place in range(len(self.rooms))]  # which can be traced
        if self.taken != self.rooms:
            owns = [own[:, :size] for own, size in zip(owns, self.taken, strict=True)]
        return torch.cat([part(own) for part, own in zip(self.parts, owns, strict=True)], dim=1)


def first_layers(
    layers: Sequence[nn.Module], affine: Affine | None, way: Stacking
) -> tuple[nn.Module, Rooms]:
    """Layers that take the same input as one.

    Raises:
        NotMergeableError: if they cannot be one, or the standardisation does not fold.
    """
    if not mergeable(layers):
        raise NotMergeableError(f"{type(layers[0]).__name__} layers do not stack")
    if any(_groups(layer) > 1 for layer in layers):
        raise NotMergeableError("their first convolutions are grouped")
    standardised = layers
    if affine is not None:
        standardised = [_with_standardisation(layer, affine) for layer in layers]
    rooms = _rooms(layers, way)
    width = layers[0].weight.shape[1]
    return _placed(standardised, (0,) * len(layers), width, rooms), rooms


def later_layers(
    layers: Sequence[WeightLayer], rooms: Rooms, way: Stacking
) -> tuple[nn.Module, Rooms]:
    """Layers that each take their own channels as one.

    Raises:
        NotMergeableError: if there would be groups of different sizes.
    """
    if way == "apart":
        alone = [
            later_layers([layer], (room,), "aligned")
            for layer, room in zip(layers, rooms, strict=True)
        ]
        parts = Apart([layer for layer, _ in alone], rooms, rooms)
        return parts, tuple(room for _, (room,) in alone)
    outputs, starts = _rooms(layers, way), tuple(itertools.accumulate(rooms, initial=0))[:-1]
    if any(_groups(layer) > 1 for layer in layers):
        return _grouped_already(layers, rooms)
    if way == "grouped" and not isinstance(layers[0], nn.Linear):
        if len(set(rooms)) > 1:
            raise NotMergeableError("groups cannot differ in size")
        zeros = (0,) * len(layers)
        return _placed(layers, zeros, rooms[0], outputs, groups=len(layers)), outputs
    return _placed(layers, starts, sum(rooms), outputs), outputs


def _rooms(layers: Sequence[WeightLayer], way: Stacking) -> Rooms:
    sizes = [_outputs(layer) for layer in layers]
    if way == "grouped":
        sizes = [max(sizes)] * len(sizes)
    if isinstance(layers[0], nn.Linear):
        return tuple(sizes)
    if way == "block":
        sizes[-1] += -sum(sizes) % LANES
    else:
        sizes = [size + -size % LANES for size in sizes]
    return tuple(sizes)


def _grouped_already(layers: Sequence[WeightLayer], rooms: Rooms) -> tuple[nn.Module, Rooms]:
    """Such as one filter a channel: more groups, if they have the same size in all networks."""
    sizes = {(layer.weight.shape[1], _outputs(layer) // _groups(layer)) for layer in layers}
    width, share = max(sizes)
    if len(sizes) > 1 or any(room % width for room in rooms):
        raise NotMergeableError("their convolutions have groups of different sizes")
    outputs = tuple(room // width * share for room in rooms)
    zeros = (0,) * len(layers)
    return _placed(layers, zeros, width, outputs, groups=sum(rooms) // width), outputs


def _placed(
    layers: Sequence[WeightLayer], starts: Sequence[int], width: int, rooms: Rooms, groups: int = 1
) -> nn.Module:
    """One layer with each one's weights in its own rows, and in the columns from its start on."""
    one = layers[0].weight
    weight = one.new_zeros(sum(rooms), width, *one.shape[2:])
    bias = one.new_zeros(sum(rooms))
    for layer, row, column in zip(
        layers, itertools.accumulate(rooms, initial=0), starts, strict=False
    ):
        rows = slice(row, row + _outputs(layer))
        weight[rows, column : column + layer.weight.shape[1]] = layer.weight
        if layer.bias is not None:
            bias[rows] = layer.bias
    return _like(layers[0], weight, bias, groups)


def _like(layer: WeightLayer, weight: Tensor, bias: Tensor, groups: int) -> WeightLayer:
    """A layer of the same settings with other weights."""
    inputs, outputs = weight.shape[1] * groups, weight.shape[0]
    if isinstance(layer, nn.Linear):
        made: WeightLayer = nn.Linear(inputs, outputs, device="meta")
    else:
        kernel, stride, padding, dilation = _settings(layer) or ()
        made = type(layer)(
            inputs, outputs, kernel, stride, padding, dilation, groups, device="meta"
        )
    made.weight, made.bias = nn.Parameter(weight), nn.Parameter(bias)
    return made


def _with_standardisation(layer: WeightLayer, affine: Affine) -> WeightLayer:
    """The layer that takes x where this one takes (x - shift) / scale; computed in float64."""
    shift, scale = (_per_channel(each, layer) for each in affine)
    if float((shift / scale).abs().max()) > LARGEST_SHIFT:
        raise NotFoldableError("the shift is many deviations")
    pads = not isinstance(layer, nn.Linear) and layer.padding != (0,) * len(layer.kernel_size)
    if pads and shift.any():
        raise NotFoldableError("a convolution pads with zeros of standardised values")
    kernel = [1] * (layer.weight.ndim - 2)
    weight = layer.weight.double() / scale.view(1, -1, *kernel)
    lost = (weight * shift.view(1, -1, *kernel)).flatten(1).sum(dim=1)
    bias = -lost if layer.bias is None else layer.bias.double() - lost
    if not (weight.float().isfinite().all() and bias.float().isfinite().all()):
        raise NotFoldableError("a scale is too small")
    return _like(layer, weight.to(layer.weight), bias.to(layer.weight), 1)


def _per_channel(values: Tensor, layer: WeightLayer) -> Tensor:
    """One value for each of the layer's input channels, float64 (C,)."""
    flat = values[0].double().flatten(1) if values.ndim > 2 else values.double().reshape(-1, 1)
    if not torch.equal(flat, flat[:, :1].expand_as(flat)):
        raise NotFoldableError("the standardisation differs from place to place")
    return flat[:, 0]


def mergeable(layers: Sequence[nn.Module]) -> TypeGuard[Sequence[WeightLayer]]:
    """Whether they are linear layers or convolutions that differ in their widths alone."""
    if any(type(layer) not in (nn.Linear, nn.Conv1d, nn.Conv2d) for layer in layers):
        return False
    settings = [_settings(layer) for layer in layers]  # type: ignore[arg-type]
    return None not in settings and len(set(settings)) == 1


def _settings(layer: WeightLayer) -> tuple[Any, ...] | None:
    """Kernel size, stride, padding and dilation of a convolution; None if it pads unusually."""
    if isinstance(layer, nn.Linear):
        return ()
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        return None
    return layer.kernel_size, layer.stride, layer.padding, layer.dilation


def _outputs(layer: WeightLayer) -> int:
    return layer.weight.shape[0]


def _groups(layer: WeightLayer) -> int:
    return 1 if isinstance(layer, nn.Linear) else layer.groups
