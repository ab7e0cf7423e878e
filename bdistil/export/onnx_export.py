"""ONNX graphs of an ensemble: one from each stage to the next, and one straight to each stage."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bdistil.errors import CheckpointError
from bdistil.export.ensemble import Ensemble
from bdistil.export.graphs import (
    BATCH,
    LARGEST_DIFFERENCE,
    PrefixGraph,
    StageGraph,
    any_batch,
    stage_inputs,
)
from bdistil.export.torch_runner import TorchRunner
from bdistil.optional import require
from bdistil.runtime.onnx_runner import INPUT, LOGITS, OnnxRunner, prefix_file, stage_file
from bdistil.runtime.runner import Runner
from bdistil.store.durable import disk_errors, write_atomic


def export_onnx(ensemble: Ensemble, directory: Path, examples: NDArray[np.float32]) -> float:
    """Write the graphs and check them on real examples.

    Args:
        ensemble: on the CPU.
        directory: for ``stage_1.onnx``, ``prefix_1.onnx``, ...
        examples: raw, float32 (N, ...), at least :data:`BATCH` of them.

    Returns:
        The largest difference between onnxruntime's and torch's logits on `examples`.

    Raises:
        MissingDependencyError: if onnx, onnxscript or onnxruntime is not installed.
        CheckpointError: if the disk is full, or the difference is above
            :data:`LARGEST_DIFFERENCE`; then no graph is left behind.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        require(package, "onnx")
    with disk_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
    _remove_graphs(directory)
    for stage, state in enumerate(stage_inputs(ensemble, examples[:BATCH]), start=1):
        _write(StageGraph(ensemble, stage), state, directory / stage_file(stage))
        _write(PrefixGraph(ensemble, stage), state[:1], directory / prefix_file(stage))
    return _checked(ensemble, directory, examples)


def export_module(module: nn.Module, examples: NDArray[np.float32], path: Path) -> None:
    """Write any module from raw features, float32 (B, ...), to logits as one graph.

    Raises:
        MissingDependencyError: if onnx or onnxscript is not installed.
        CheckpointError: if the disk is full.
    """
    for package in ("onnx", "onnxscript"):
        require(package, "onnx")
    _write_graph(module, [torch.as_tensor(examples[:BATCH])], (INPUT,), (LOGITS,), path)


def _remove_graphs(directory: Path) -> None:
    with disk_errors(directory):
        for graph in directory.glob("*.onnx"):
            graph.unlink()


def _write(graph: StageGraph | PrefixGraph, inputs: list[Tensor], path: Path) -> None:
    _write_graph(graph, inputs, graph.inputs, graph.outputs, path)


def _write_graph(
    module: nn.Module,
    inputs: list[Tensor],
    input_names: Sequence[str],
    output_names: Sequence[str],
    path: Path,
) -> None:
    with _quiet():
        program = torch.onnx.export(
            module.eval(),
            tuple(inputs),
            dynamo=True,
            dynamic_shapes=any_batch(inputs),
            input_names=list(input_names),
            output_names=list(output_names),
            verbose=False,
        )
    assert program is not None  # as it is with dynamo
    write_atomic(path, program.model_proto.SerializeToString())


def _checked(ensemble: Ensemble, directory: Path, examples: NDArray[np.float32]) -> float:
    """The largest difference between both runners over all stages and prefixes."""
    difference = 0.0
    graphs = OnnxRunner(directory, ensemble.outputs)
    runners: tuple[Runner, Runner] = (TorchRunner(ensemble), graphs)
    progress = [runner.begin(examples) for runner in runners]
    for stage in range(1, len(ensemble) + 1):
        progress = [r.advance(p) for r, p in zip(runners, progress, strict=True)]
        straight = [runner.straight(examples, stage) for runner in runners]
        for mine, other in ([p.logits for p in progress], straight):
            difference = max(difference, float(np.abs(mine - other).max()))
    if not difference <= LARGEST_DIFFERENCE:
        _remove_graphs(directory)
        raise CheckpointError(
            f"{directory}: the ONNX graphs differ from torch by {difference:.2g} in a logit, more "
            f"than {LARGEST_DIFFERENCE:g}; please report this with the ensemble's config.json."
        )
    return difference


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter logs and warns about its own workings."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
