"""What an ensemble's last stage takes beside its teacher, by the runtime that will serve it."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import nn

from bdistil.core.cost import timed_in_turns
from bdistil.core.progressive_ensemble import ProgressiveEnsemble
from bdistil.errors import BdistilWarning, told
from bdistil.export.evaluation import stage_latencies
from bdistil.export.fastest import fastest_way, random_inputs, ways_to
from bdistil.export.merged_layers import Affine
from bdistil.export.onnx_export import check_packages, export_module, opened_ways
from bdistil.export.stacking import Standardised
from bdistil.names import Runtime
from bdistil.runtime.cascade import TEACHER_FILE
from bdistil.runtime.onnx_runner import OnnxRunner
from bdistil.store.scratch import ScratchFolder

REPEATS = 30


class StageSeconds(NamedTuple):
    """Median seconds of one example; None of a teacher that cannot be timed."""

    stage: float
    teacher: float | None


StageTimer = Callable[[ProgressiveEnsemble], StageSeconds]


def stage_timer(
    teacher: nn.Module | None,
    affine: Affine,
    input_shape: Sequence[int],
    runtime: Runtime = "torch",
    threads: int = 1,
) -> StageTimer:
    """Measures the last stage of ensembles, in the fastest way to it, in turns with the teacher.

    Args:
        teacher: a network of standardised features, on the CPU; None if there is none.
        affine: the standardisation, which graphs hold.
        input_shape: of one example.
        runtime: what computes both.
        threads: see :class:`~bdistil.spec.GoalSpec`.

    Raises:
        MissingDependencyError: if onnx, onnxscript or onnxruntime is wanted and not installed.
    """
    if runtime == "onnxruntime":
        return GraphTimer(teacher, affine, input_shape, threads)
    example = torch.zeros(1, *input_shape)

    def timed(students: ProgressiveEnsemble) -> StageSeconds:
        last = [len(students)]
        (seconds,), reference = stage_latencies(students, teacher, example, last, threads)
        return StageSeconds(seconds, reference)

    return timed


class GraphTimer:
    """The same by onnxruntime, in the graphs that an export would write.

    Args:
        teacher, affine, input_shape, threads: as of :func:`stage_timer`.

    Raises:
        MissingDependencyError: if onnx, onnxscript or onnxruntime is not installed.
    """

    def __init__(
        self, teacher: nn.Module | None, affine: Affine, input_shape: Sequence[int], threads: int
    ) -> None:
        check_packages()
        self.affine = affine
        self.input_shape = tuple(input_shape)
        self.threads = threads
        self.inputs = [x.numpy() for x in random_inputs(affine, input_shape)]
        self.teacher = None if teacher is None else self._exported(teacher)

    def __call__(self, students: ProgressiveEnsemble) -> StageSeconds:
        """Export the last stage in every way, and time the fastest.

        Raises:
            CheckpointError: if the disk is full.
        """
        one, several = self.inputs
        ways = ways_to(students, self.affine, self.input_shape, len(students))
        with ScratchFolder("onnx") as folder:
            calls = opened_ways(ways, several, folder, students.outputs)
            way = fastest_way(calls, self.inputs)  # chosen on one thread, as for an export
            runner = OnnxRunner(folder, students.outputs, self.threads)
            names = [f"{way}.onnx"]
            if self.teacher is not None:
                (folder / TEACHER_FILE).write_bytes(self.teacher)
                names.append(TEACHER_FILE)
            timed = [partial(runner.run_graph, name, one) for name in names]
            rows = timed_in_turns(timed, repeats=REPEATS)
        stage, *teacher = (statistics.median(column) for column in zip(*rows, strict=True))
        return StageSeconds(stage, teacher[0] if teacher else None)

    def _exported(self, teacher: nn.Module) -> bytes | None:
        """The teacher's graph; None of one that cannot be one, of which a warning tells."""
        with ScratchFolder("onnx") as folder:
            path = folder / TEACHER_FILE
            try:
                export_module(Standardised(teacher, self.affine).eval(), self.inputs[-1], path)
                OnnxRunner(folder, 1).run_graph(TEACHER_FILE, self.inputs[0])
            except Exception as error:  # of a user's own network the exporter may raise anything
                warnings.warn(
                    f"the teacher's time by onnxruntime is left out: {told(error)}",
                    BdistilWarning,
                    stacklevel=2,
                )
                return None
            return path.read_bytes()
