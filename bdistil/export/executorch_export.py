"""ExecuTorch programs of an ensemble, as ``.pte`` files for phones and microcontrollers.

Each takes one example, as devices do; products run on XNNPACK where it has them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bdistil.export.ensemble import Ensemble
from bdistil.export.graphs import PrefixGraph, StageGraph, checked, stage_inputs
from bdistil.export.quiet import no_chatter
from bdistil.optional import require
from bdistil.store.durable import disk_errors, write_atomic

MOST_CHECKED = 32  # examples, which run one by one


def export_executorch(ensemble: Ensemble, directory: Path, examples: NDArray[np.float32]) -> float:
    """Write ``stage_1.pte``, ``prefix_1.pte``, ... and check them on real examples.

    Args:
        ensemble: on the CPU.
        directory: for the files.
        examples: raw, float32 (N, ...); the first :data:`MOST_CHECKED` are looked at.

    Returns:
        The largest difference between the programs' and the ensemble's outputs.

    Raises:
        MissingDependencyError: if executorch is not installed.
        CheckpointError: if the disk is full, or the difference is above
            :data:`~bdistil.export.graphs.LARGEST_DIFFERENCE`; then the file is removed.
    """
    require("executorch", "executorch")
    with disk_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
    difference = 0.0
    few = examples[:MOST_CHECKED]
    singles = [stage_inputs(ensemble, few[row : row + 1]) for row in range(len(few))]
    for stage, inputs in enumerate(zip(*singles, strict=True), start=1):
        graph, prefix = StageGraph(ensemble, stage).eval(), PrefixGraph(ensemble, stage).eval()
        first = [each[:1] for each in inputs]
        difference = max(
            difference,
            _save(graph, list(inputs), directory / f"stage_{stage}.pte"),
            _save(prefix, first, directory / f"prefix_{stage}.pte"),
        )
    return difference


@torch.no_grad()
def _save(graph: StageGraph | PrefixGraph, inputs: list[list[Tensor]], path: Path) -> float:
    with no_chatter():
        write_atomic(path, _lowered(graph, inputs[0]))
        method = require("executorch.runtime", "executorch").Runtime.get()
        method = method.load_program(str(path)).load_method("forward")
        return checked(
            path,
            (
                (method.execute([tensor.contiguous() for tensor in example]), graph(*example))
                for example in inputs
            ),
        )


def _lowered(graph: StageGraph | PrefixGraph, inputs: list[Tensor]) -> bytes:
    exir = require("executorch.exir", "executorch")
    xnnpack = require("executorch.backends.xnnpack.partition.xnnpack_partitioner", "executorch")
    program = torch.export.export(graph, tuple(inputs))
    lowered = exir.to_edge_transform_and_lower(
        program, partitioner=[xnnpack.XnnpackPartitioner()]
    ).to_executorch()
    content: bytes = lowered.buffer
    return content
