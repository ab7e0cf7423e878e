"""Products, convolutions, poolings, norms and softmax, each a call of a function in C."""

from __future__ import annotations

import math
from typing import Any

from torch.fx import Node

from bdistil.export.c_code.literals import float_literal, identifier
from bdistil.export.c_code.operations import Writer, argument, emits, shape_of

Pair = tuple[int, int]


@emits("aten.linear.default")
def emit_linear(writer: Writer, node: Node) -> None:
    """Rows times a matrix, plus a bias."""
    x, weight, bias = node.args[0], node.args[1], argument(node, 2)
    outputs, inputs = shape_of(weight)
    rows = math.prod(shape_of(x)) // inputs
    out = writer.new(node)
    sizes = (rows, inputs, outputs)
    writer.call("linear", out, writer.at(x), writer.at(weight), writer.at(bias), *sizes)


@emits("aten.mm.default", "aten.bmm.default")
def emit_product(writer: Writer, node: Node) -> None:
    """One product of matrices, or several."""
    left, right = node.args[0], node.args[1]
    *count, rows, inner = shape_of(left)
    sizes = (math.prod(count), rows, inner, shape_of(right)[-1])
    writer.call("multiply", writer.new(node), writer.at(left), writer.at(right), *sizes)


@emits("aten.convolution.default")
def emit_convolution(writer: Writer, node: Node) -> None:
    """In one or two dimensions, of any stride, padding, dilation and number of groups."""
    x, weight, bias, stride, padding, dilation, transposed, _, groups = node.args
    _check_plane(writer, node, x, refused="transposed" if transposed else "")
    out, kernel = writer.new(node), shape_of(weight)[2:]
    window = _window(writer, node, x, kernel, stride, padding, dilation)
    pointers = (out, writer.at(x), writer.at(weight), writer.at(bias))
    writer.call("convolve", *pointers, groups, window)


@emits("aten.avg_pool2d.default")
def emit_average_pool(writer: Writer, node: Node) -> None:
    """The mean of each window; of the zeros of a padding, too."""
    x, kernel, stride = node.args[0], argument(node, 1), argument(node, 2)
    padding, ceil = argument(node, 3, [0, 0]), argument(node, 4, False)
    odd = ceil or not argument(node, 5, True) or argument(node, 6) is not None
    _check_plane(writer, node, x, refused="windows beyond the rim" if odd else "")
    stride = stride or kernel
    window = _window(writer, node, x, kernel, stride, padding, [1, 1])
    writer.call("average_pool", writer.new(node), writer.at(x), window)


@emits("aten._softmax.default")
def emit_softmax(writer: Writer, node: Node) -> None:
    """Over one dimension."""
    shape = shape_of(node)
    axis = argument(node, 1) % len(shape)
    sizes = (math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :]))
    writer.call("softmax", writer.new(node), writer.at(node.args[0]), *sizes)


@emits("aten.native_layer_norm.default")
def emit_layer_norm(writer: Writer, node: Node) -> None:
    """Each row to mean 0 and variance 1, then weight and bias of each place."""
    x, normalised, weight, bias, epsilon = node.args
    size = math.prod(normalised)  # type: ignore[arg-type]
    _normalise(writer, node, x, weight, bias, size, size, 1, epsilon)


@emits("aten.native_group_norm.default")
def emit_group_norm(writer: Writer, node: Node) -> None:
    """Each group of channels to mean 0 and variance 1, then weight and bias of each channel."""
    x, weight, bias, _, channels, places, groups, epsilon = node.args
    size = channels // groups * places  # type: ignore[operator]
    _normalise(writer, node, x, weight, bias, size, channels, places, epsilon)


def _normalise(
    writer: Writer,
    node: Node,
    x: Any,
    weight: Any,
    bias: Any,
    size: Any,
    weights: Any,
    places: Any,
    epsilon: Any,
) -> None:
    """Rows of `size`, after one another; `weights` of them repeat, each for so many `places`."""
    out = writer.new_parts(node, 1)[0]
    rows = math.prod(shape_of(x)) // size
    pointers = (out, writer.at(x), writer.at(weight), writer.at(bias))
    writer.call("normalise", *pointers, rows, size, weights, places, float_literal(epsilon))


def _check_plane(writer: Writer, node: Node, x: Any, refused: str) -> None:
    batch, *rest = shape_of(x)
    if refused or batch != 1 or len(rest) not in (2, 3):
        writer.refuse(f"{node.target} ({refused or f'on a tensor of shape {shape_of(x)}'})")


def _window(
    writer: Writer, node: Node, x: Any, kernel: Any, stride: Any, padding: Any, dilation: Any
) -> str:
    """Declares what a window's loops run over; sequences are images of one row.

    A compound literal would do in C, but C++ knows none.
    """
    shape, target = shape_of(x), shape_of(node)
    fields: dict[str, Any] = {"channels": shape[1], "outputs": target[1]}
    fields |= dict(zip(("height", "width"), _pair(shape[2:], 1), strict=True))
    for name, sizes, filler in (
        ("out", target[2:], 1),
        ("kernel", kernel, 1),
        ("stride", stride, 1),
        ("padding", padding, 0),
        ("dilation", dilation, 1),
    ):
        height, width = _pair(sizes, filler)
        fields |= {f"{name}_height": height, f"{name}_width": width}
    words = ", ".join(f".{name} = {value}" for name, value in fields.items())
    name = identifier(f"{node.name}_window")
    writer.write(f"static const ensemble_window {name} = {{{words}}};")
    return f"&{name}"


def _pair(sizes: Any, filler: int) -> Pair:
    """Of height and width: a sequence has width alone."""
    height, width = (filler, *sizes) if len(sizes) == 1 else sizes
    return height, width
