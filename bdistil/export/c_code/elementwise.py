"""Operations on each value by itself, and sums and means over dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from torch.fx import Node

from bdistil.export.c_code.literals import float_literal
from bdistil.export.c_code.loops import Region, broadcast, contiguous, loop_lines, whole
from bdistil.export.c_code.operations import Writer, argument, emits, shape_of

EXPRESSIONS = {
    "aten._prelu_kernel.default": "{1} > 0.0f ? {1} : {2} * {1}",
    "aten.abs.default": "fabsf({1})",
    "aten.add.Scalar": "{1} + {2}",
    "aten.add.Tensor": "{1} + {2}",
    "aten.celu.default": "{1} > 0.0f ? {1} : {2} * expm1f({1} / {2})",
    "aten.clamp.default": "fminf(fmaxf({1}, {2}), {3})",
    "aten.cos.default": "cosf({1})",
    "aten.div.Scalar": "{1} / {2}",
    "aten.div.Tensor": "{1} / {2}",
    "aten.elu.default": "{3} * ({1} > 0.0f ? {1} : {2} * expm1f({1} * {4}))",
    "aten.erf.default": "erff({1})",
    "aten.exp.default": "expf({1})",
    "aten.expm1.default": "expm1f({1})",
    "aten.hardsigmoid.default": "fminf(fmaxf({1} + 3.0f, 0.0f), 6.0f) / 6.0f",
    "aten.hardswish.default": "{1} * fminf(fmaxf({1} + 3.0f, 0.0f), 6.0f) / 6.0f",
    "aten.hardtanh.default": "fminf(fmaxf({1}, {2}), {3})",
    "aten.leaky_relu.default": "{1} > 0.0f ? {1} : {2} * {1}",
    "aten.log.default": "logf({1})",
    "aten.log1p.default": "log1pf({1})",
    "aten.maximum.default": "fmaxf({1}, {2})",
    "aten.minimum.default": "fminf({1}, {2})",
    "aten.mish.default": "{1} * tanhf({1} > 20.0f ? {1} : log1pf(expf({1})))",
    "aten.mul.Scalar": "{1} * {2}",
    "aten.mul.Tensor": "{1} * {2}",
    "aten.neg.default": "-{1}",
    "aten.pow.Tensor_Scalar": "powf({1}, {2})",
    "aten.reciprocal.default": "1.0f / {1}",
    "aten.relu.default": "fmaxf({1}, 0.0f)",
    "aten.rsqrt.default": "1.0f / sqrtf({1})",
    "aten.sigmoid.default": "1.0f / (1.0f + expf(-{1}))",
    "aten.silu.default": "{1} / (1.0f + expf(-{1}))",
    "aten.sin.default": "sinf({1})",
    "aten.softplus.default": "{1} * {2} > {3} ? {1} : log1pf(expf({1} * {2})) / {2}",
    "aten.sqrt.default": "sqrtf({1})",
    "aten.sub.Scalar": "{1} - {2}",
    "aten.sub.Tensor": "{1} - {2}",
    "aten.tanh.default": "tanhf({1})",
}
"""By operation: the value of {1}, {2} and so on, its arguments."""
DEFAULTS = {
    "aten.celu.default": (1.0,),
    "aten.clamp.default": (-math.inf, math.inf),
    "aten.elu.default": (1.0, 1.0, 1.0),
    "aten.hardtanh.default": (-1.0, 1.0),
    "aten.leaky_relu.default": (0.01,),
    "aten.softplus.default": (1.0, 20.0),
}
"""Of the arguments after the first, where torch leaves them out or has None."""
GELU = {
    "none": "0.5f * {1} * (1.0f + erff(0.707106781f * {1}))",
    "tanh": "0.5f * {1} * (1.0f + tanhf(0.797884561f * ({1} + 0.044715f * {1} * {1} * {1})))",
}


@emits(*EXPRESSIONS)
def emit_expression(writer: Writer, node: Node) -> None:
    """Arguments are tensors of any shape that broadcasts, or numbers."""
    name, (first, *rest) = str(node.target), node.args
    if node.kwargs.get("alpha", 1) != 1:
        writer.refuse(f"{name} with a factor")
    found = zip_longest(rest, DEFAULTS.get(name, rest))
    others = [default if given is None else given for given, default in found]
    _write_each(writer, node, EXPRESSIONS[name], [first, *others])


@emits("aten.gelu.default")
def emit_gelu(writer: Writer, node: Node) -> None:
    """With the error function, or by its approximation."""
    _write_each(writer, node, GELU[str(node.kwargs.get("approximate", "none"))], node.args)


@emits("aten.full.default", "aten.full_like.default")
def emit_full(writer: Writer, node: Node) -> None:
    """One number everywhere."""
    _fill(writer, whole(writer.new(node), shape_of(node)), node, node.args[1])


@emits("aten.mean.dim", "aten.sum.dim_IntList")
def emit_sum(writer: Writer, node: Node) -> None:
    """Sum or mean over dimensions."""
    target = _reduce(writer, node, 0, "{0} += {1};")
    if "mean" in str(node.target):
        count = math.prod(shape_of(node.args[0])) / max(1, math.prod(shape_of(node)))
        writer.write(*loop_lines(shape_of(node), f"{{0}} /= {float_literal(count)};", [target]))


@emits("aten.amax.default")
def emit_maximum(writer: Writer, node: Node) -> None:
    """The largest over dimensions."""
    _reduce(writer, node, -math.inf, "if ({1} > {0}) {0} = {1};")


def _reduce(writer: Writer, node: Node, start: float, statement: str) -> Region:
    """Go on from `start` with every number of the dimensions that vanish; where it is left."""
    source = node.args[0]
    shape, axes = shape_of(source), argument(node, 1) or range(len(shape_of(source)))
    gone = {axis % len(shape) for axis in axes}
    kept = [1 if axis in gone else size for axis, size in enumerate(shape)]
    strides = [0 if axis in gone else s for axis, s in enumerate(contiguous(kept))]
    out = writer.new(node)
    target = whole(out, shape_of(node))
    _fill(writer, target, node, start)
    regions = (Region(out, 0, tuple(strides)), whole(writer.at(source), shape))
    writer.write(*loop_lines(shape, statement, regions))
    return target


def _write_each(writer: Writer, node: Node, expression: str, values: Sequence[Any]) -> None:
    shape = shape_of(node)
    sources = [_operand(writer, value, shape) for value in values]
    regions = [whole(writer.new(node), shape), *sources]
    writer.write(*loop_lines(shape, f"{{0}} = {expression};", regions))


def _operand(writer: Writer, value: Any, shape: tuple[int, ...]) -> Region | str:
    pointer = writer.at(value)
    return broadcast(pointer, shape_of(value), shape) if isinstance(value, Node) else pointer


def _fill(writer: Writer, region: Region, node: Node, value: Any) -> None:
    writer.write(*loop_lines(shape_of(node), f"{{0}} = {float_literal(value)};", [region]))
