"""ONNX graphs of an ensemble: one from each stage to the next, and one straight to each stage."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bdistil.core.connections import Hidden
from bdistil.core.ensemble import step
from bdistil.core.student import Student
from bdistil.data.optional import require
from bdistil.deploy.ensemble import Ensemble
from bdistil.deploy.onnx_runner import INPUT, LOGITS, OnnxRunner, prefix_file, stage_file
from bdistil.deploy.runner import Runner
from bdistil.deploy.torch_runner import TorchRunner
from bdistil.errors import CheckpointError
from bdistil.files import disk_errors, write_atomic

LARGEST_DIFFERENCE = 1e-4
BATCH = 2  # of the examples that are traced; the graphs take any


class StageGraph(nn.Module):
    """One stage: raw features (B, ...), F_{t-1} (B, L) and cached activations in, F_t out.

    Attributes:
        inputs: names of the inputs, in order.
        outputs: names of the outputs, in order; F_t is called apart from the F_{t-1} that comes in.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, ensemble: Ensemble, stage: int) -> None:
        super().__init__()
        self.register_buffer("shift", ensemble.shift)
        self.register_buffer("scale", ensemble.scale)
        *earlier, self.student = list(ensemble)[:stage]
        self.cached = [activations(s, student) for s, student in enumerate(earlier, start=1)]
        self.stage = stage
        self.inputs = [INPUT, LOGITS, *(name for names in self.cached for name in names)]
        self.outputs = [f"next_{LOGITS}", *activations(stage, self.student)]

    def forward(self, x: Tensor, logits: Tensor, *cached: Tensor) -> tuple[Tensor, ...]:
        """F_t, float (B, L), and the student's activations."""
        rest = iter(cached)
        earlier = [Hidden(*(next(rest) for _ in names)) for names in self.cached]
        scaled = (x - self.shift) / self.scale
        after, hidden = step(self.student, scaled, earlier, logits, self.stage)
        return after, *(tensor for tensor in hidden if tensor is not None)


def activations(stage: int, student: Student) -> list[str]:
    """Names of what a student leaves to its successors."""
    memory = [f"memory_{stage}"] if student.config.connection == "lstm" else []
    return [f"hidden_{stage}", *memory]


class PrefixGraph(nn.Module):
    """Raw features (B, ...) to F_k, with folded heads."""

    shift: Tensor
    scale: Tensor
    inputs = (INPUT,)
    outputs = (LOGITS,)

    def __init__(self, ensemble: Ensemble, stage: int) -> None:
        super().__init__()
        self.register_buffer("shift", ensemble.shift)
        self.register_buffer("scale", ensemble.scale)
        self.prefix = ensemble.prefix(stage)

    def forward(self, x: Tensor) -> Tensor:
        """F_k, float (B, L)."""
        logits: Tensor = self.prefix((x - self.shift) / self.scale)
        return logits


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
    for stage, state in enumerate(_states(ensemble, examples[:BATCH]), start=1):
        _write(StageGraph(ensemble, stage), state, directory / stage_file(stage))
        _write(PrefixGraph(ensemble, stage), state[:1], directory / prefix_file(stage))
    return _checked(ensemble, directory, examples)


def _remove_graphs(directory: Path) -> None:
    with disk_errors(directory):
        for graph in directory.glob("*.onnx"):
            graph.unlink()


@torch.no_grad()
def _states(ensemble: Ensemble, examples: NDArray[np.float32]) -> Iterator[list[Tensor]]:
    """Example inputs of each stage's graph."""
    x = torch.as_tensor(examples, dtype=torch.float32)
    logits = torch.zeros(len(x), ensemble.outputs)
    cached: list[Tensor] = []
    for stage in range(1, len(ensemble) + 1):
        yield [x, logits, *cached]
        logits, *own = StageGraph(ensemble, stage)(x, logits, *cached)
        cached += own


def _write(graph: StageGraph | PrefixGraph, inputs: list[Tensor], path: Path) -> None:
    batch = {0: torch.export.Dim.DYNAMIC}
    named = tuple(batch for _ in inputs[:2])
    cached = tuple(batch for _ in inputs[2:])  # torch wants what *args holds as one tuple
    shapes: tuple[Any, ...] = (*named, cached) if cached else named
    with _quiet():
        program = torch.onnx.export(
            graph.eval(),
            tuple(inputs),
            dynamo=True,
            dynamic_shapes=shapes,
            input_names=graph.inputs,
            output_names=graph.outputs,
            verbose=False,
        )
    assert program is not None  # as it is with dynamo
    write_atomic(path, program.model_proto.SerializeToString())


def _checked(ensemble: Ensemble, directory: Path, examples: NDArray[np.float32]) -> float:
    """The largest difference between both runners over all stages and prefixes."""
    difference = 0.0
    graphs = OnnxRunner(directory, ensemble.outputs, len(ensemble))
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
