"""GRU and LSTM layers, each direction of each layer a call of a function in C."""

from __future__ import annotations

import math
from typing import Any

from torch.fx import Node

from bdistil.export.c_code.loops import loop_lines, whole
from bdistil.export.c_code.operations import Writer, emits, shape_of


@emits("aten.gru.input")
def emit_gru(writer: Writer, node: Node) -> None:
    """Layers of GRUs in one direction or two; the states after the last step, too."""
    x, state, *settings = node.args
    _emit_layers(writer, node, "gru", x, [state], settings)


@emits("aten.lstm.input")
def emit_lstm(writer: Writer, node: Node) -> None:
    """Layers of LSTMs in one direction or two; states and memories after the last step, too."""
    x, states, *settings = node.args
    _emit_layers(writer, node, "lstm", x, list(states), settings)  # type: ignore[arg-type]


def _emit_layers(
    writer: Writer, node: Node, kernel: str, x: Any, states: list[Any], settings: list[Any]
) -> None:
    weights, biased, layers, _, _, bidirectional, _ = settings
    count, batch, width = shape_of(states[0])
    each, directions = (4 if biased else 2), (2 if bidirectional else 1)
    if batch != 1 or len(weights) != each * count:
        writer.refuse(f"{node.target} (on several sequences at once, or with projections)")
    steps, inputs = math.prod(shape_of(x)) // shape_of(x)[-1], shape_of(x)[-1]
    out, *carried = writer.new_parts(node, 1 + len(states))
    for target, state in zip(carried, states, strict=True):
        shape = shape_of(state)
        regions = [whole(target, shape), whole(writer.at(state), shape)]
        writer.write(*loop_lines(shape, "{0} = {1};", regions))
    source = writer.at(x)
    for layer in range(layers):
        target = out
        if layer < layers - 1:
            target = writer.temporary(f"{node.name}_layer_{layer}", steps * directions * width)
        for direction in range(directions):
            number = layer * directions + direction
            pointers = [writer.at(weight) for weight in weights[number * each :][:each]]
            pointers += ["0", "0"] * (not biased)
            own = [f"{place} + {number * width}" for place in carried]
            sizes = (steps, inputs, width, directions * width, direction)
            writer.call(kernel, f"{target} + {direction * width}", *own, source, *pointers, *sizes)
        source, inputs = target, directions * width
