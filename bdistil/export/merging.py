"""Networks of one make, side by side in one: what they share is computed once, layers become one.

The networks are traced by torch.fx and merged operation by operation. What comes before the first
layer with weights is the same for all; from there on a tensor holds the channels of all networks
one after another, on axis 1.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeGuard

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from bdistil.core.batched import ACTIVATION_FUNCTIONS, ACTIVATIONS, POOLS, RESHAPING
from bdistil.export.merged_layers import (
    Affine,
    Apart,
    NotFoldableError,
    NotMergeableError,
    Rooms,
    first_layers,
    later_layers,
    mergeable,
)
from bdistil.names import Stacking
from bdistil.zoo.fcn import MeanAndMaximum, Slopes

CHANNELWISE = (
    *(*ACTIVATIONS, *POOLS),
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.Dropout, nn.Identity, MeanAndMaximum),
)
ELEMENTWISE = (
    *(*ACTIVATION_FUNCTIONS, operator.add, torch.add),
    *("relu", "tanh", "sigmoid"),
)


class Merged(NamedTuple):
    """Several networks as one.

    Attributes:
        network: from inputs (B, ...) to features (B, D).
        places: where in the D each network's features are, int64 (features,) each.
        width: D.
        layered: whether layers come after the first, so that the ways to stack them differ.
    """

    network: nn.Module
    places: list[Tensor]
    width: int
    layered: bool


class Value(NamedTuple):
    """What an operation of the merged network gives.

    Attributes:
        node: of its graph.
        rooms: channels of each network on axis 1; None if it is the same for all networks.
        affine: a standardisation that is still to be done; only where it is the same for all.
    """

    node: fx.Node
    rooms: Rooms | None = None
    affine: Affine | None = None


def merge(
    networks: Sequence[nn.Module], example: Tensor, affine: Affine | None, way: Stacking
) -> Merged:
    """Networks that differ in their widths and weights alone as one.

    Args:
        networks: from standardised inputs (B, ...) to features (B, own), in evaluation mode.
        example: one input (1, ...).
        affine: a standardisation that the first layers are to do; None if they get what they need.
        way: of the layers after the first.

    Raises:
        NotFoldableError: if the first layers cannot do the standardisation, or at a cost of digits.
        NotMergeableError: if they cannot be one; the message says why.
    """
    traces = [_traced(network, example) for network in networks]
    if len({_described(trace) for trace in traces}) > 1:
        raise NotMergeableError("they differ in more than their widths")
    folded = affine and Affine(*(each.expand(example.shape) for each in affine))
    return _Merger(traces, way).merged(folded)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, (*CHANNELWISE, Slopes)) or super().is_leaf_module(
            m, module_qualified_name
        )


def _traced(network: nn.Module, example: Tensor) -> fx.GraphModule:
    try:
        trace = fx.GraphModule(network, _Tracer().trace(network))
        ShapeProp(trace).propagate(example)
    except Exception:  # whatever a body does with a stand-in for a tensor
        raise NotMergeableError("they cannot be traced") from None
    return trace


def _described(trace: fx.GraphModule) -> str:
    """Operations and their arguments, with places in the graph instead of names."""
    places = {node: f"%{place}" for place, node in enumerate(trace.graph.nodes)}
    described = []
    for node in trace.graph.nodes:
        arguments = fx.map_arg((node.args, node.kwargs), places.__getitem__)
        what = node.target if node.op in ("call_function", "call_method") else ""
        described.append((node.op, what, arguments))
    return repr(described)


class _Merger:
    """Builds the merged graph, one operation of all networks after another."""

    def __init__(self, traces: Sequence[fx.GraphModule], way: Stacking) -> None:
        self.traces = traces
        self.way = way
        self.root = nn.Module()
        self.graph = fx.Graph()
        self.values: dict[fx.Node, Value] = {}  # by the nodes of the first network
        self.layered = False

    def merged(self, folded: Affine | None) -> Merged:
        """See :func:`merge`."""
        for nodes in zip(*(trace.graph.nodes for trace in self.traces), strict=True):
            node = nodes[0]
            if node.op == "output":
                return self._finished(nodes)
            if node.op == "placeholder":
                self.values[node] = Value(self.graph.placeholder("x"), affine=folded)
            elif node.op == "call_module":
                self.values[node] = self._module(nodes)
            else:
                self.values[node] = self._function(nodes)
        raise AssertionError("a graph has an output")

    def _finished(self, nodes: Sequence[fx.Node]) -> Merged:
        results = [_source(node) for node in nodes]
        value = self.values[results[0]]
        if value.rooms is None or len(_shape(results[0])) != 2:
            raise NotMergeableError("they give no features of their own")
        self.graph.output(value.node)
        starts = itertools.accumulate(value.rooms, initial=0)
        sizes = [_shape(result)[1] for result in results]
        places = [torch.arange(s, s + size) for s, size in zip(starts, sizes, strict=False)]
        network = fx.GraphModule(self.root, self.graph)
        return Merged(network, places, sum(value.rooms), self.layered)

    def _module(self, nodes: Sequence[fx.Node]) -> Value:
        modules = [
            trace.get_submodule(str(node.target))
            for trace, node in zip(self.traces, nodes, strict=True)
        ]
        one, source = modules[0], _source(nodes[0])
        value = self.values[source]
        on_channels = not isinstance(one, nn.Linear) or len(_shape(source)) == 2
        if _without_weights(modules):
            if isinstance(one, nn.Flatten):
                return self._reshaped(value, self._call(one, value), nodes[0], one)
            if value.rooms is None or isinstance(one, CHANNELWISE):
                return Value(self._call(one, _standardised(value)), value.rooms)
        if value.rooms is None:
            if not on_channels:
                raise NotMergeableError("their first layers take step after step")
            layer, rooms = first_layers(modules, value.affine, self.way)
            return Value(self._call(layer, value), rooms)
        self.layered = True
        if on_channels and mergeable(modules):
            layer, rooms = later_layers(modules, value.rooms, self.way)
            return Value(self._call(layer, value), rooms)
        if all_slopes(modules):
            return Value(self._call(slopes_in(modules, value.rooms), value), value.rooms)
        return self._apart(modules, value, nodes)

    def _apart(self, modules: Sequence[nn.Module], value: Value, nodes: Sequence[fx.Node]) -> Value:
        """Modules of any kind, each on the channels of its own network."""
        assert value.rooms is not None
        taken = tuple(_shape(_source(node))[1] for node in nodes)
        node = self._call(Apart(modules, value.rooms, taken), value)
        return Value(node, tuple(_shape(node)[1] for node in nodes))

    def _function(self, nodes: Sequence[fx.Node]) -> Value:
        node = nodes[0]
        values = [self.values[source] for source in node.all_input_nodes]
        if node.op == "get_attr" or not values:
            raise NotMergeableError("they have weights outside of layers")
        arguments = fx.map_arg((node.args, node.kwargs), lambda source: self.values[source].node)
        emitted = self.graph.create_node(node.op, node.target, *arguments)
        if node.op == "call_method" and node.target in RESHAPING:
            apply = operator.methodcaller(node.target, *node.args[1:], **node.kwargs)
            return self._reshaped(values[0], emitted, node, apply)
        rooms = {_standardised(value).rooms for value in values}
        if len(rooms) > 1 or (values[0].rooms is not None and node.target not in ELEMENTWISE):
            raise NotMergeableError(f"the operation {_name(node)} does not stack")
        return Value(emitted, values[0].rooms)

    def _reshaped(
        self, value: Value, emitted: fx.Node, node: fx.Node, apply: Callable[[Tensor], Tensor]
    ) -> Value:
        """What only moves values about moves those of a standardisation alike."""
        if value.rooms is None:
            affine = value.affine and Affine(*map(apply, value.affine))
            return Value(emitted, None, affine)
        before, after = _shape(_source(node)), _shape(node)
        cells = math.prod(before[2:])
        if after != (before[0], before[1] * cells):
            raise NotMergeableError(f"the operation {_name(node)} does not stack")
        return Value(emitted, tuple(room * cells for room in value.rooms))

    def _call(self, module: nn.Module, value: Value) -> fx.Node:
        name = f"layer_{len(list(self.root.children()))}"
        self.root.add_module(name, module)
        return self.graph.call_module(name, (value.node,))


def all_slopes(modules: Sequence[nn.Module]) -> TypeGuard[Sequence[Slopes]]:
    """Whether each adds slopes."""
    return all(isinstance(module, Slopes) for module in modules)


def slopes_in(modules: Sequence[Slopes], rooms: Rooms) -> Slopes:
    """Those of all networks as one, level where a network does not need its room."""
    merged = Slopes(sum(rooms), len(modules[0].time))
    starts = itertools.accumulate(rooms, initial=0)
    with torch.no_grad():
        for module, start in zip(modules, starts, strict=False):
            merged.slope[start : start + len(module.slope)] = module.slope
    return merged


def _standardised(value: Value) -> Value:
    """The same, if it can go on without a layer that takes the standardisation in."""
    if value.affine is not None:
        raise NotFoldableError("an operation comes before the first layer")
    return value


def _without_weights(modules: Sequence[nn.Module]) -> bool:
    """Whether these do all the same, as far as their descriptions tell."""
    tensors = (t for m in modules for t in itertools.chain(m.parameters(), m.buffers()))
    return len({repr(module) for module in modules}) == 1 and next(tensors, None) is None


def _source(node: fx.Node) -> fx.Node:
    """The one tensor that an operation takes."""
    source = node.args[0] if node.args else None
    if not isinstance(source, fx.Node) or (node.op == "call_module" and len(node.args) > 1):
        raise NotMergeableError(f"{_name(node)} takes more than one tensor")
    return source


def _shape(node: fx.Node) -> tuple[int, ...]:
    """Of what an operation gave for the example."""
    found = node.meta.get("tensor_meta")
    if found is None or not hasattr(found, "shape"):
        raise NotMergeableError(f"{_name(node)} gives more than one tensor")
    return tuple(found.shape)


def _name(node: fx.Node) -> str:
    return getattr(node.target, "__name__", str(node.target))
