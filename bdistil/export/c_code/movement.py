"""Operations that move values: other shapes, parts, orders and joins."""

from __future__ import annotations

from typing import Any

from torch.fx import Node

from bdistil.export.c_code.loops import Region, broadcast, contiguous, loop_lines, whole
from bdistil.export.c_code.operations import VIEWS, Writer, argument, emits, shape_of

VIEWS |= {
    "aten.alias.default",
    "aten.as_strided.default",
    "aten.clone.default",
    "aten.squeeze.dims",
    "aten.unsqueeze.default",
    "aten.view.default",
}


@emits(*sorted(VIEWS))
def emit_view(writer: Writer, node: Node) -> None:
    """The same values in the same order; all tensors here are without gaps."""
    writer.alias(node, writer.at(node.args[0]))


@emits("aten.as_strided.default")
def emit_strided(writer: Writer, node: Node) -> None:
    """What torch has where only strides along a single place change, as behind a pooling."""
    if not (_is_packed(node) and _is_packed(node.args[0])):
        writer.refuse(str(node.target))
    emit_view(writer, node)


def _is_packed(value: Any) -> bool:
    """Whether values lie in torch's memory as here, but for strides along a single place."""
    tensor = value.meta["val"]
    strides = zip(tensor.shape, tensor.stride(), contiguous(tensor.shape), strict=True)
    return tensor.storage_offset() == 0 and all(size == 1 or a == b for size, a, b in strides)


@emits("aten.permute.default")
def emit_permute(writer: Writer, node: Node) -> None:
    """Dimensions in another order."""
    region, order = _source(writer, node), argument(node, 1)
    _copy(writer, node, region._replace(strides=tuple(region.strides[axis] for axis in order)))


@emits("aten.expand.default")
def emit_expand(writer: Writer, node: Node) -> None:
    """Repeated along dimensions."""
    source = node.args[0]
    _copy(writer, node, broadcast(writer.at(source), shape_of(source), shape_of(node)))


@emits("aten.flip.default")
def emit_flip(writer: Writer, node: Node) -> None:
    """Dimensions from their end to their beginning."""
    pointer, offset, strides = _source(writer, node)
    turned = list(strides)
    for axis in argument(node, 1):
        offset += (shape_of(node.args[0])[axis] - 1) * strides[axis]
        turned[axis] = -strides[axis]
    _copy(writer, node, Region(pointer, offset, tuple(turned)))


@emits("aten.select.int")
def emit_select(writer: Writer, node: Node) -> None:
    """One index of a dimension, which goes."""
    axis, index = _axis(node), argument(node, 2)
    pointer, _, strides = _source(writer, node)
    start = index % shape_of(node.args[0])[axis]
    kept = strides[:axis] + strides[axis + 1 :]
    _copy(writer, node, Region(pointer, start * strides[axis], kept))


@emits("aten.slice.Tensor")
def emit_slice(writer: Writer, node: Node) -> None:
    """A range of a dimension."""
    axis, size = _axis(node), shape_of(node.args[0])[_axis(node)]
    start, _, step = slice(argument(node, 2), argument(node, 3), argument(node, 4)).indices(size)
    pointer, _, strides = _source(writer, node)
    stepped = (*strides[:axis], step * strides[axis], *strides[axis + 1 :])
    _copy(writer, node, Region(pointer, start * strides[axis], stepped))


@emits("aten.split_with_sizes.default")
def emit_split(writer: Writer, node: Node) -> None:
    """A dimension cut into pieces."""
    source, axis = node.args[0], argument(node, 2, 0)
    shape = shape_of(source)
    axis %= len(shape)
    strides, start = contiguous(shape), 0
    sizes = argument(node, 1)
    for size, out in zip(sizes, writer.new_parts(node, len(sizes)), strict=True):
        piece = (*shape[:axis], size, *shape[axis + 1 :])
        region = Region(writer.at(source), start * strides[axis], strides)
        writer.write(*loop_lines(piece, "{0} = {1};", [whole(out, piece), region]))
        start += size


@emits("aten.cat.default")
def emit_cat(writer: Writer, node: Node) -> None:
    """Tensors one after another along a dimension."""
    sources: Any = node.args[0]
    axis, start, strides = argument(node, 1, 0), 0, contiguous(shape_of(node))
    out = writer.new(node)
    for source in sources:
        shape = shape_of(source)
        target = Region(out, start * strides[axis], strides)
        writer.write(*loop_lines(shape, "{0} = {1};", [target, whole(writer.at(source), shape)]))
        start += shape[axis]


def _axis(node: Node) -> int:
    axis: int = argument(node, 1, 0)
    return axis % len(shape_of(node.args[0]))


def _source(writer: Writer, node: Node) -> Region:
    return whole(writer.at(node.args[0]), shape_of(node.args[0]))


def _copy(writer: Writer, node: Node, region: Region) -> None:
    shape = shape_of(node)
    writer.write(*loop_lines(shape, "{0} = {1};", [whole(writer.new(node), shape), region]))
