"""The teacher as a graph beside the ensemble, to be asked as the last stage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bdistil.errors import CheckpointError
from bdistil.export.ensemble import Ensemble
from bdistil.export.graphs import BATCH, LARGEST_DIFFERENCE, difference_of
from bdistil.export.onnx_export import export_module
from bdistil.export.stacking import Standardised
from bdistil.runtime.cascade import TEACHER_FILE
from bdistil.runtime.hashes import HASHES_FILE, describe_files
from bdistil.runtime.onnx_runner import OnnxRunner
from bdistil.store.durable import replacing_files, write_atomic


@torch.no_grad()
def export_teacher(
    network: nn.Module, ensemble: Ensemble, directory: Path, examples: NDArray[np.float32]
) -> float:
    """Write the teacher's graph and check it on real examples.

    Args:
        network: of standardised features.
        ensemble: beside which it stands.
        directory: for the graph.
        examples: raw, float32 (N, ...).

    Returns:
        The largest difference of a logit, over the row's largest.

    Raises:
        MissingDependencyError: if onnx, onnxscript or onnxruntime is not installed.
        CheckpointError: if the disk is full or the difference is too large.
    """
    teacher = Standardised(network, ensemble.affine).eval()
    with replacing_files(directory, last=HASHES_FILE) as aside:
        export_module(teacher, examples, aside / TEACHER_FILE)
        few = examples[:BATCH]
        expected = teacher(torch.as_tensor(few)).numpy()
        found = OnnxRunner(aside, ensemble.outputs).run_graph(TEACHER_FILE, few)
        difference = difference_of(found, expected)
        if difference > LARGEST_DIFFERENCE:
            raise CheckpointError(
                f"the teacher's graph differs by {difference:.1e} from the teacher; give "
                "Predictor(teacher=...) the teacher itself."
            )
        write_atomic(aside / HASHES_FILE, describe_files(aside, ensemble.weights_hash()))
    return difference
