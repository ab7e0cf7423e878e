"""Nested loops over tensors that lie in memory with strides of their own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

Shape = tuple[int, ...]


class Region(NamedTuple):
    """Values at ``pointer[offset + Σ index · stride]``, one index and stride a dimension."""

    pointer: str
    offset: int
    strides: tuple[int, ...]


def contiguous(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of a tensor without gaps, the last dimension running fastest."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def whole(pointer: str, shape: Sequence[int]) -> Region:
    """All of a tensor without gaps."""
    return Region(pointer, 0, contiguous(shape))


def broadcast(pointer: str, shape: Sequence[int], target: Sequence[int]) -> Region:
    """A tensor without gaps, repeated to a larger shape."""
    own = contiguous(shape)
    strides = [0 if size == 1 else stride for size, stride in zip(shape, own, strict=True)]
    return Region(pointer, 0, (0,) * (len(target) - len(shape)) + tuple(strides))


def loop_lines(shape: Sequence[int], statement: str, regions: Sequence[Region | str]) -> list[str]:
    """A statement run for every index of a shape.

    Args:
        shape: of the loops.
        statement: with ``{0}``, ``{1}``, ... for elements of the regions.
        regions: or literals, which are the same for all indices.
    """
    placed = [region for region in regions if isinstance(region, Region)]
    axes = _merged([(size, [r.strides[axis] for r in placed]) for axis, size in enumerate(shape)])
    indices = [f"i{number}" for number in range(len(axes))]
    elements = []
    for region in regions:
        if isinstance(region, str):
            elements.append(region)
            continue
        position = placed.index(region)
        terms = [
            index if strides[position] == 1 else f"{strides[position]} * {index}"
            for index, (_, strides) in zip(indices, axes, strict=True)
            if strides[position]
        ]
        if region.offset or not terms:
            terms.insert(0, str(region.offset))
        elements.append(f"{region.pointer}[{' + '.join(terms)}]")
    lines = [
        f"{'    ' * depth}for (long {index} = 0; {index} < {size}; {index}++)"
        for depth, (index, (size, _)) in enumerate(zip(indices, axes, strict=True))
    ]
    return [*lines, f"{'    ' * len(axes)}{statement.format(*elements)}"]


def _merged(axes: list[tuple[int, list[int]]]) -> list[tuple[int, list[int]]]:
    """The same loops with as few dimensions as will do."""
    merged: list[tuple[int, list[int]]] = []
    for size, strides in axes:
        if size == 1:
            continue
        if merged:
            outer, outer_strides = merged[-1]
            if outer_strides == [size * stride for stride in strides]:
                merged[-1] = outer * size, strides
                continue
        merged.append((size, strides))
    return merged
