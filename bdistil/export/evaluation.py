"""Figures of an ensemble beside its teacher's: accuracy, FLOPs, parameters, measured time."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from bdistil.core.cost import count_flops, flops, latencies, parameters
from bdistil.core.examples import metric
from bdistil.core.folding import FoldedPrefix
from bdistil.core.progressive_ensemble import ProgressiveEnsemble
from bdistil.errors import BdistilWarning
from bdistil.export.fastest import fastest_way, random_inputs, ways_to
from bdistil.export.merged_layers import Affine
from bdistil.export.score_figures import ScoreFigures
from bdistil.names import Task


class TeacherCosts(NamedTuple):
    """What one example costs the teacher; None where that cannot be counted.

    Attributes:
        seconds: measured before, of a teacher that is no network.
    """

    flops: int | None
    parameters: int | None
    seconds: float | None = None

    @classmethod
    def of(cls, teacher_network: nn.Module | None, input_shape: tuple[int, ...]) -> TeacherCosts:
        """What can be counted on a network; nothing on none."""
        if teacher_network is None:
            return cls(None, None)
        return cls(flops(teacher_network, input_shape), parameters(teacher_network))


class TeacherFigures(BaseModel):
    """The teacher on the test split; costs are None where only its outputs are known.

    Attributes:
        latency: measured in turns with the stages', see there.
    """

    model_config = ConfigDict(frozen=True)

    metric: float
    flops: int | None
    parameters: int | None
    latency: float | None = None


class StageFigures(BaseModel):
    """One stage on the test split.

    Attributes:
        stage: counted from 1.
        metric: accuracy, micro F1 of labels, or R² for regression.
        flops: of one example when the ensemble is run straight to this stage (folded heads).
        streamed_flops: of one example when every stage up to this one is answered on the way.
        flops_fraction: `flops` over the teacher's.
        parameters: values that the stage needs, folded.
        latency: measured seconds, one example, one thread, by torch in the fastest way to the
            stage; None of runs before it was kept.
        latency_ratio: `latency` over the teacher's.
        sup_norm: max|F_t - g| on the training split, g the deployed teacher's logits (targets in
            units of the training split); None if it was not computed.
        sup_norm_out_of_fold: the same against the out-of-fold logits that the game was played on;
            None without cross-fitting.
    """

    model_config = ConfigDict(frozen=True)

    stage: int
    metric: float
    flops: int
    streamed_flops: int
    flops_fraction: float | None
    parameters: int
    latency_ratio: float | None
    latency: float | None = None
    sup_norm: float | None = None
    sup_norm_out_of_fold: float | None = None


class Evaluation(BaseModel):
    """An anytime curve: the teacher and every stage.

    Attributes:
        of: hash of the teacher and the students that were evaluated; empty if not stored.
        scores: other measures, intervals and a table of classes; None of runs before there were
            any.
        notes: what a reader of the figures should know.
    """

    model_config = ConfigDict(frozen=True)

    task: Task
    examples: int
    teacher: TeacherFigures
    stages: tuple[StageFigures, ...] = Field(min_length=1)
    of: str = ""
    scores: ScoreFigures | None = None
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _of_the_same_stages(self) -> Evaluation:
        if self.scores is not None and len(self.scores.stages) != len(self.stages):
            raise ValueError(
                f"scores of {len(self.scores.stages)} stages beside {len(self.stages)} stages"
            )
        return self

    @property
    def timed_by(self) -> str:
        """What the times were measured by, in words."""
        foreign = self.teacher.latency is not None and self.teacher.parameters is None
        return "by torch" + (", the teacher in its own library" if foreign else "")

    def truncated(self, stages: int) -> Evaluation:
        """Of the first `stages` stages; what is of the last one would have to be made anew."""
        scores = self.scores
        if scores is not None and stages < len(self.stages):
            kept = {"stages": scores.stages[:stages], "classes": (), "turning": None}
            scores = scores.model_copy(update=kept)
        return self.model_copy(update={"stages": self.stages[:stages], "scores": scores})


@torch.no_grad()
def evaluate(
    ensemble: ProgressiveEnsemble,
    inputs: Tensor,
    truth: Tensor,
    teacher_logits: Tensor,
    teacher_network: nn.Module | None,
    task: Task,
    teacher_costs: TeacherCosts | None = None,
) -> Evaluation:
    """Evaluate every stage and the teacher.

    Args:
        ensemble: takes inputs as they are given (no further standardisation).
        inputs: standardised, float32 (N, ...).
        truth: class indices (N,), targets or labels 0 and 1 (N, L).
        teacher_logits: float32 (N, L).
        teacher_network: the network, for its cost; None if unknown.
        task: decides on the metric.
        teacher_costs: counted before; None counts them on `teacher_network`.
    """
    shape = tuple(inputs.shape[1:])
    prefixes = [FoldedPrefix(ensemble, stage).eval() for stage in range(1, len(ensemble) + 1)]
    if teacher_costs is None:
        teacher_costs = TeacherCosts.of(teacher_network, shape)
    seconds, teacher_seconds = stage_latencies(ensemble, teacher_network, inputs[:1])
    if teacher_network is None:
        teacher_seconds = teacher_costs.seconds
    figures = TeacherFigures(
        metric=metric(teacher_logits, truth, task),
        flops=teacher_costs.flops,
        parameters=teacher_costs.parameters,
        latency=teacher_seconds,
    )
    streamed = streamed_flops(ensemble, shape)
    costs = [flops(prefix, shape) for prefix in prefixes]
    stages = [
        StageFigures(
            stage=index + 1,
            metric=metric(prefix(inputs), truth, task),
            flops=costs[index],
            streamed_flops=streamed[index],
            flops_fraction=costs[index] / figures.flops if figures.flops else None,
            parameters=parameters(prefix),
            latency=seconds[index],
            latency_ratio=seconds[index] / teacher_seconds if teacher_seconds else None,
        )
        for index, prefix in enumerate(prefixes)
    ]
    return Evaluation(task=task, examples=len(truth), teacher=figures, stages=tuple(stages))


def stage_latencies(
    ensemble: ProgressiveEnsemble,
    teacher_network: nn.Module | None,
    x: Tensor,
    stages: Sequence[int] | None = None,
    threads: int = 1,
) -> tuple[list[float], float | None]:
    """Median seconds of each stage and of the teacher, in turns; None of a teacher that fails.

    Args:
        ensemble: takes inputs as they are given.
        teacher_network: None if there is none.
        x: an example, (1, ...).
        stages: that are timed, counted from 1; all if left out.
        threads: that torch may use.
    """
    affine = Affine(x.new_zeros(()), x.new_ones(()))
    inputs = random_inputs(affine, x.shape[1:])
    stages = range(1, len(ensemble) + 1) if stages is None else stages
    ways = (ways_to(ensemble, affine, x.shape[1:], stage) for stage in stages)
    fastest = [each[fastest_way(each, inputs)] for each in ways]
    if teacher_network is not None:
        try:
            timed = [*fastest, teacher_network.eval()]
            *times, reference = latencies(timed, x, threads=threads)
            return times, reference
        except Exception as error:  # the user's own network may raise anything
            warnings.warn(f"the teacher's time is left out: {error}", BdistilWarning, stacklevel=2)
    return latencies(fastest, x, threads=threads), None


def streamed_flops(ensemble: ProgressiveEnsemble, input_shape: tuple[int, ...]) -> list[int]:
    """FLOPs up to each stage when every stage is answered on the way."""
    shadow = copy.deepcopy(ensemble).to("meta")
    totals, run = [], 0
    stages = ProgressiveEnsemble.stages(shadow, torch.empty(1, *input_shape, device="meta"))
    for _ in range(len(ensemble)):
        run += count_flops(lambda: next(stages))
        totals.append(run)
    return totals
