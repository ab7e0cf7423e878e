"""LiteRT models of an ensemble, as ``.tflite`` files for phones and small devices.

Each takes one example, as devices do. litert-torch converts, ai-edge-litert runs them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bdistil.errors import FOREIGN, SpecError, told
from bdistil.export.ensemble import Ensemble
from bdistil.export.graphs import PrefixGraph, StageGraph, checked, stage_inputs
from bdistil.export.quiet import no_chatter
from bdistil.optional import require
from bdistil.runtime.hashes import HASHES_FILE, describe_files
from bdistil.store.durable import replacing_files, write_atomic

LITERT_FOLDER = "litert"  # in the folder of a saved ensemble
MOST_CHECKED = 32  # examples, which run one by one


def export_litert(ensemble: Ensemble, directory: Path, examples: NDArray[np.float32]) -> float:
    """Write ``stage_1.tflite``, ``prefix_1.tflite``, ... and check them on real examples.

    Args:
        ensemble: on the CPU.
        directory: for the files; models that are there already are replaced all together.
        examples: raw, float32 (N, ...); the first :data:`MOST_CHECKED` are looked at.

    Returns:
        The largest difference between the models' and the ensemble's outputs.

    Raises:
        MissingDependencyError: if litert-torch or ai-edge-litert is not installed.
        SpecError: if a student's class cannot be converted.
        CheckpointError: if the disk is full, or the difference is above
            :data:`~bdistil.export.graphs.LARGEST_DIFFERENCE`; `directory` then is as it was.
    """
    with no_chatter():
        for package in ("litert_torch", "ai_edge_litert"):
            require(package, "litert")
    difference = 0.0
    few = examples[:MOST_CHECKED]
    singles = [stage_inputs(ensemble, few[row : row + 1]) for row in range(len(few))]
    with replacing_files(directory, HASHES_FILE) as aside:
        for stage, inputs in enumerate(zip(*singles, strict=True), start=1):
            graph, prefix = StageGraph(ensemble, stage).eval(), PrefixGraph(ensemble, stage).eval()
            first = [each[:1] for each in inputs]
            kind = ensemble.config.students[stage - 1].kind
            difference = max(
                difference,
                _save(graph, list(inputs), aside / f"stage_{stage}.tflite", kind),
                _save(prefix, first, aside / f"prefix_{stage}.tflite", kind),
            )
        write_atomic(aside / HASHES_FILE, describe_files(aside, ensemble.weights_hash()))
        written = {path.name for path in aside.iterdir()}
    for old in directory.glob("*.tflite"):
        if old.name not in written:  # a stage that there is no more
            old.unlink()
    return difference


@torch.no_grad()
def _save(
    graph: StageGraph | PrefixGraph, inputs: list[list[Tensor]], path: Path, kind: str
) -> float:
    with no_chatter():
        content = _converted(graph, inputs[0], kind)
        write_atomic(path, content)
        model = LiteRTModel(content)
        return checked(path, ((model(example), graph(*example)) for example in inputs))


def _converted(graph: StageGraph | PrefixGraph, inputs: list[Tensor], kind: str) -> bytes:
    try:
        converted = require("litert_torch", "litert").convert(graph, tuple(inputs))
        content: bytes = converted.model_content()
    except FOREIGN as error:
        raise SpecError(
            f"litert-torch cannot convert a student of class {kind!r} ({told(error)}); export the "
            "ensemble with --onnx or --executorch instead."
        ) from error
    return content


class LiteRTModel:
    """A model as a function of tensors.

    Args:
        content: of the file.
    """

    def __init__(self, content: bytes) -> None:
        interpreter = require("ai_edge_litert.interpreter", "litert").Interpreter
        self._run: Any = interpreter(model_content=content).get_signature_runner()
        self._outputs = sorted(self._run.get_output_details(), key=_number)

    def __call__(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """The outputs for inputs of one example, in the graph's order."""
        named = {f"args_{number}": tensor.numpy() for number, tensor in enumerate(inputs)}
        found = self._run(**named)
        return [torch.from_numpy(found[name]) for name in self._outputs]


def _number(name: str) -> int:
    """Of ``output_10``, 10."""
    return int(name.rpartition("_")[2])
