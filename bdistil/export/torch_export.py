"""``torch.export`` programs of an ensemble, as ``.pt2`` files for torch in Python and C++."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bdistil.export.ensemble import Ensemble
from bdistil.export.graphs import (
    BATCH,
    PrefixGraph,
    StageGraph,
    any_batch,
    checked,
    stage_inputs,
)
from bdistil.store.durable import disk_errors, replacing


def export_programs(ensemble: Ensemble, directory: Path, examples: NDArray[np.float32]) -> float:
    """Write ``stage_1.pt2``, ``prefix_1.pt2``, ... and check them on real examples.

    Args:
        ensemble: on the CPU.
        directory: for the files.
        examples: raw, float32 (N, ...), at least :data:`BATCH` of them.

    Returns:
        The largest difference between the saved programs' and the ensemble's outputs.

    Raises:
        CheckpointError: if the disk is full, or the difference is too large; then the file is
            removed.
    """
    with disk_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
    difference = 0.0
    pairs = zip(
        stage_inputs(ensemble, examples[:BATCH]), stage_inputs(ensemble, examples), strict=True
    )
    for stage, (few, many) in enumerate(pairs, start=1):
        graph, prefix = StageGraph(ensemble, stage).eval(), PrefixGraph(ensemble, stage).eval()
        difference = max(
            difference,
            _save(graph, few, many, directory / f"stage_{stage}.pt2"),
            _save(prefix, few[:1], many[:1], directory / f"prefix_{stage}.pt2"),
        )
    return difference


@torch.no_grad()
def _save(
    graph: StageGraph | PrefixGraph, few: list[Tensor], many: list[Tensor], path: Path
) -> float:
    program = torch.export.export(graph, tuple(few), dynamic_shapes=any_batch(few))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it has paths of this machine
    with replacing(path) as temporary, temporary.open("wb") as file:
        torch.export.save(program, file)
    loaded = torch.export.load(path).module()
    return checked(path, [(loaded(*many), graph(*many))])
