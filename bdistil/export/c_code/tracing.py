"""Each stage as a graph of operations on one example, by torch.export."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from bdistil.errors import FOREIGN, SpecError, told
from bdistil.export.c_code import elementwise, layers, movement, recurrent
from bdistil.export.c_code.operations import kept_whole
from bdistil.export.ensemble import Ensemble
from bdistil.export.graphs import StageGraph

_REGISTERED = (elementwise, layers, movement, recurrent)  # their emitters
MOST_OPERATIONS = 20_000  # of a stage; a recurrence that is no GRU or LSTM is unrolled


class TracedStage(NamedTuple):
    """One stage, traced.

    Attributes:
        number: counted from 1.
        graph: its module.
        program: at a batch of one.
        inputs: name of the placeholder of each of the graph's inputs that is read.
    """

    number: int
    graph: StageGraph
    program: ExportedProgram
    inputs: dict[str, str]


@torch.no_grad()
def trace(ensemble: Ensemble, number: int, inputs: list[Tensor]) -> TracedStage:
    """A stage, its operations such as there are emitters for, as far as that is possible.

    Args:
        ensemble: on the CPU.
        number: of the stage, counted from 1.
        inputs: of its graph, for one example.

    Raises:
        SpecError: if torch.export cannot trace it, or it has too many operations.
    """
    graph = StageGraph(ensemble, number).eval()
    kind = graph.student.config.kind
    table = torch.export.default_decompositions()
    for operation in kept_whole():
        table.pop(operation, None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(graph, tuple(inputs)).run_decompositions(table)
    except FOREIGN as error:
        raise SpecError(
            f"stage {number}: a student of class {kind!r} cannot be traced by torch.export: "
            f"{told(error)}."
        ) from error
    nodes = program.graph
    nodes.eliminate_dead_code()
    if len(nodes.nodes) > MOST_OPERATIONS:
        raise SpecError(
            f"stage {number}: a student of class {kind!r} takes {len(nodes.nodes):,} operations "
            f"for one example, more than the {MOST_OPERATIONS:,} that are written in C; shorten "
            "the sequences, or use the classes gru or lstm, whose steps are a loop."
        )
    given = [spec.arg.name for spec in program.graph_signature.input_specs if is_input(spec)]
    readers = {node.name for node in nodes.nodes if node.op == "placeholder" and node.users}
    named = zip(given, graph.inputs, strict=True)
    return TracedStage(number, graph, program, {k: name for k, name in named if k in readers})


def is_input(spec: object) -> bool:
    """Whether a placeholder stands for an input, not for a weight."""
    return getattr(spec, "kind", None) is InputKind.USER_INPUT
