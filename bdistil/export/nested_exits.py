"""The graphs from stage to stage as one, each later stage inside an `If` of whether to go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bdistil.optional import require
from bdistil.runtime.exit_graph import STAGE, TEMPERATURES, THRESHOLDS, WEIGHTS
from bdistil.runtime.manifest import Manifest
from bdistil.runtime.onnx_runner import EXITS_FILE, INPUT, LOGITS, stage_file
from bdistil.store.durable import write_atomic

NOTHING = "no_stage"  # F_0
DEEPEST = 24
"""Stages within each other: protocol buffers are read to a depth of 100, of which each takes 3."""
Names = Mapping[str, str]


def can_nest(manifest: Manifest) -> bool:
    """Whether a graph can tell how sure the answers are: those of one class out of several."""
    return manifest.task == "classification" and 1 < manifest.stages <= DEEPEST


def write_exit_graph(folder: Path, manifest: Manifest) -> None:
    """Write ``exits.onnx`` for a batch of one, of ``stage_1.onnx``, ... beside it.

    It reads a raw example, (1, ...), and what :func:`~bdistil.runtime.exit_graph.policy_feed`
    gives, and answers with logits, (1, L), and the stage that they are from, int64 (1,). There is
    none where :func:`can_nest` says so, or where a stage has branches or loops of its own, as only
    a class of the user's can have.

    Raises:
        MissingDependencyError: if onnx is not installed.
        CheckpointError: if the disk is full.
    """
    if not can_nest(manifest):
        return
    onnx = require("onnx", "onnx")
    stages = [onnx.load(folder / stage_file(k)) for k in range(1, manifest.stages + 1)]
    if any(each.functions or _has_branches(each.graph) for each in stages):
        return
    nest = Nest(onnx, [each.graph for each in stages], manifest.outputs)
    graph, looks = nest.graph(1, {INPUT: INPUT, LOGITS: NOTHING}), manifest.stages - 1
    for name, shape in {
        INPUT: (1, *manifest.input_shape),
        TEMPERATURES: (looks,),
        THRESHOLDS: (looks,),
        WEIGHTS: (2, 1),
    }.items():
        graph.input.append(nest.told(name, onnx.TensorProto.FLOAT, shape))
    for name in (TEMPERATURES, THRESHOLDS):  # a part for each stage
        parts = [f"{name}_{stage}" for stage in range(1, manifest.stages)]
        graph.node.insert(0, nest.node("Split", [name], parts, num_outputs=looks))
    graph.initializer.append(nest.constant(NOTHING, np.zeros((1, manifest.outputs), np.float32)))
    model = onnx.helper.make_model(
        graph, opset_imports=stages[0].opset_import, ir_version=stages[0].ir_version
    )
    onnx.checker.check_model(model)
    write_atomic(folder / EXITS_FILE, model.SerializeToString())


class Nest(NamedTuple):
    """Makes the graph of a stage with that of the next one in it.

    Attributes:
        onnx: the package.
        stages: graphs from stage to stage, first to last.
        outputs: L.
    """

    onnx: Any
    stages: Sequence[Any]
    outputs: int

    def graph(self, stage: int, known: Names) -> Any:
        """From a stage on: the logits with which the example leaves, and where.

        Args:
            stage: from 1.
            known: what the stage's inputs are called outside of it.
        """
        inner, name = self.stages[stage - 1], f"stage_{stage}/{{}}".format
        names = {"": "", **{each.name: known[each.name] for each in inner.input}}
        nodes = [_renamed(node, name, names) for node in inner.node]
        weights = [_renamed(tensor, name, names) for tensor in inner.initializer]
        own = {each.name.removeprefix("next_"): name(each.name) for each in inner.output}
        if stage == len(self.stages):
            return self._leaving(stage, own[LOGITS], nodes, weights)
        here = self._leaving(stage, own[LOGITS], [], [])
        further = self.graph(stage + 1, {**known, **own})
        nodes += self._looking(name, stage, own[LOGITS])
        outputs = [name(f"{LOGITS}_found"), name(f"{STAGE}_found")]
        branches = {"then_branch": here, "else_branch": further}
        nodes.append(self.node("If", [name("sure")], outputs, **branches))
        weights.append(self.constant(name("two"), np.array([2])))
        return self._answering(f"from_{stage}", nodes, outputs, weights)

    def _looking(self, name: Any, stage: int, logits: str) -> list[Any]:
        """Whether the weighted sum of the two largest probabilities reaches the threshold."""
        threshold = f"{THRESHOLDS}_{stage}"
        return [
            self.node("Div", [logits, f"{TEMPERATURES}_{stage}"], [name("scaled")]),
            self.node("Softmax", [name("scaled")], [name("probabilities")], axis=-1),
            self.node(
                "TopK", [name("probabilities"), name("two")], [name("largest"), name("classes")]
            ),
            self.node("MatMul", [name("largest"), WEIGHTS], [name("score")]),
            self.node("GreaterOrEqual", [name("score"), threshold], [name("sure")]),
        ]

    def _leaving(self, stage: int, logits: str, nodes: list[Any], weights: list[Any]) -> Any:
        """A graph that answers what a stage has found, after some nodes of its own."""
        title, outputs = f"at_{stage}", [f"at_{stage}/{LOGITS}", f"at_{stage}/{STAGE}"]
        number = self.constant(f"{title}/number", np.array([stage]))
        nodes = nodes + [
            self.node("Identity", [given], [output])
            for given, output in zip((logits, number.name), outputs, strict=True)
        ]
        return self._answering(title, nodes, outputs, [*weights, number])

    def _answering(
        self, title: str, nodes: list[Any], outputs: list[str], weights: list[Any]
    ) -> Any:
        numbers = self.onnx.TensorProto
        logits, stage = outputs
        told = [
            self.told(logits, numbers.FLOAT, (1, self.outputs)),
            self.told(stage, numbers.INT64, (1,)),
        ]
        return self.onnx.helper.make_graph(nodes, title, [], told, weights)

    def node(self, kind: str, inputs: list[str], outputs: list[str], **attributes: Any) -> Any:
        """One operator."""
        return self.onnx.helper.make_node(kind, inputs, outputs, **attributes)

    def constant(self, name: str, value: np.ndarray) -> Any:
        """A constant of a graph."""
        return self.onnx.numpy_helper.from_array(value, name)

    def told(self, name: str, number: int, shape: tuple[int, ...]) -> Any:
        """What an input or output of a graph is."""
        return self.onnx.helper.make_tensor_value_info(name, number, shape)


def _has_branches(graph: Any) -> bool:
    return any(each.HasField("g") or each.graphs for node in graph.node for each in node.attribute)


def _renamed(part: Any, name: Any, names: Names) -> Any:
    """A node or a tensor under names of its own, but for those that are known outside."""
    copy = type(part)()
    copy.CopyFrom(part)
    if copy.name:
        copy.name = name(copy.name)
    if hasattr(part, "op_type"):
        for field in ("input", "output"):
            getattr(copy, field)[:] = [names.get(each, name(each)) for each in getattr(part, field)]
    return copy
