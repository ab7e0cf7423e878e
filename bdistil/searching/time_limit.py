"""The limit of time: what stages take beside the teacher, measured on this machine.

One example, one thread, by torch, in the fastest way to a stage, as every table tells it. Before a
search the limit is turned into FLOPs, by which widths are planned; a winner is timed before it is
kept, since FLOPs say little of the time of small networks.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from bdistil.core.growth import folded_flops, widest
from bdistil.core.progressive_ensemble import ProgressiveEnsemble
from bdistil.core.student import Student, StudentConfig
from bdistil.data.dataset import Dataset
from bdistil.errors import SpecError
from bdistil.export.checkpoint import build_student
from bdistil.export.evaluation import stage_latencies
from bdistil.spec import Spec
from bdistil.teachers.select import teacher_source

TimeShare = Callable[[ProgressiveEnsemble], float]


def with_time_as_flops(spec: Spec, dataset: Dataset) -> Spec:
    """The spec with `goal.within` decided by `goal.within_time`, where that is to be done.

    The share of FLOPs is that of the widest single student of the first class that keeps to the
    time, at most the teacher's own. Of a teacher that is no network, or only once it is fitted,
    nothing is decided: its winners are timed alone.

    Raises:
        SpecError: if not even the smallest student keeps to it, or of the teacher only answers are
            known, which take no time.
    """
    goal = spec.goal
    if goal is None or goal.within_time is None:
        return spec
    if spec.teacher.columns is not None:
        raise SpecError(
            "goal.within_time is a share of the teacher's time, but of teacher.columns only the "
            "answers are known; remove it, or give the model itself (teacher.model)."
        )
    if goal.within is not None:
        return spec
    source = teacher_source(dataset, spec)
    flops, teacher = source.known_flops(), source.untrained_network()
    if flops is None or teacher is None:
        return spec
    rung, least = spec.space.rungs[0]
    kind, shape = rung or spec.space.students[0], dataset.input_shape
    timed = timer_of(teacher, shape)

    def share(width: int) -> float:
        student = student_of(kind, width, dataset)
        if folded_flops(student, shape, ()) > flops:
            return math.inf
        return timed(ProgressiveEnsemble(dataset.outputs, [student]).eval())

    smallest = share(least)
    if math.isnan(smallest):  # the teacher fails when it is timed, of which a warning tells
        return spec
    if smallest > goal.within_time:
        raise SpecError(
            f"goal.within_time is {goal.within_time:.3g} of the teacher's time, but the smallest "
            f"student ({kind} of width {least}) takes {smallest:.2f} of it on this machine; raise "
            f"it, or begin space.ladder with something smaller."
        )
    width = widest(share, goal.within_time, least)
    cost = folded_flops(student_of(kind, width, dataset), shape, ())
    return spec.model_copy(update={"goal": goal.model_copy(update={"within": cost / flops})})


def student_of(kind: str, width: int, dataset: Dataset) -> Student:
    """A new student without connections, in evaluation mode."""
    config = StudentConfig(kind, width, "none", skip=False)
    return build_student(config, dataset.input_shape, dataset.outputs, ()).eval()


def timer_of(
    teacher: nn.Module | None, shape: tuple[int, ...], teacher_seconds: float | None = None
) -> TimeShare:
    """Measures an ensemble's last stage over its teacher.

    Args:
        teacher: a network of standardised features, timed in turns with the stage.
        shape: of one example.
        teacher_seconds: what counts where there is no network; one of both must be known.
    """
    example = torch.zeros(1, *shape)

    def share(ensemble: ProgressiveEnsemble) -> float:
        (seconds,), reference = stage_latencies(ensemble, teacher, example, [len(ensemble)])
        reference = reference or teacher_seconds
        return math.nan if reference is None else seconds / reference

    return share
