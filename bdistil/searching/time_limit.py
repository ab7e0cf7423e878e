"""The limit of time: what stages take, beside the teacher or by the clock, on this machine.

One example, in the fastest way to a stage, as every table tells it; by torch on one thread unless
the goal names a runtime and threads. Before a search the limit is turned into FLOPs, by which
widths are planned; a winner is timed before it is kept, since FLOPs say little of the time of small
networks.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from torch import nn

from bdistil.core.growth import folded_flops, widest
from bdistil.core.progressive_ensemble import ProgressiveEnsemble
from bdistil.core.student import Student, StudentConfig
from bdistil.core.tensors import as_tensor
from bdistil.data.dataset import Dataset
from bdistil.errors import SpecError
from bdistil.export.checkpoint import build_student
from bdistil.export.merged_layers import Affine
from bdistil.export.onnx_export import check_packages
from bdistil.export.stage_timing import StageSeconds, StageTimer, stage_timer
from bdistil.names import Runtime
from bdistil.runtime.anytime import seconds
from bdistil.runtime.clock import microseconds
from bdistil.searching.stage_plan import GROWTH, MOST_STAGES, first_costs, remedy_for
from bdistil.spec import GoalSpec, Spec
from bdistil.teachers.column_teacher import answers_are_given
from bdistil.teachers.select import teacher_source
from bdistil.teachers.source import network_of


@dataclass(frozen=True)
class TimeLimit:
    """A goal's limit of time.

    Attributes:
        share: of the teacher's time; None of a limit by the clock.
        seconds: None of a share.
        runtime: what computes.
        threads: of the runtime.
    """

    share: float | None
    seconds: float | None
    runtime: Runtime = "torch"
    threads: int = 1

    @classmethod
    def of(cls, goal: GoalSpec | None) -> TimeLimit | None:
        """The goal's, if it has one."""
        if goal is None or not goal.limits_time:
            return None
        within, runtime, threads = goal.timed
        if isinstance(within, str):
            return cls(None, seconds(within, "goal.within_time"), runtime, threads)
        return cls(within, None, runtime, threads)

    @property
    def most(self) -> float:
        """Share or seconds."""
        most = self.seconds if self.share is None else self.share
        assert most is not None
        return most

    @property
    def how(self) -> str:
        """How it is measured, in words."""
        return f"by {self.runtime} on {self.threads} thread{'s' if self.threads > 1 else ''}"

    def taken(self, time: StageSeconds) -> float:
        """Of a stage, in the limit's unit; NaN if the teacher's time is not known."""
        if self.share is None:
            return time.stage
        return math.nan if time.teacher is None else time.stage / time.teacher

    def told(self, taken: float) -> str:
        """A share or seconds in words."""
        if self.share is None:
            return f"{microseconds(taken)} µs"
        return f"{taken:.1%} of the teacher's time"

    def exceeded(self, time: StageSeconds, stage: int) -> str | None:
        """Why a stage takes longer than it may, in words; None if it does not."""
        taken = self.taken(time)
        if not taken > self.most:
            return None
        limit = f"{self.most:.3g}" if self.share is not None else self.told(self.most)
        return (
            f"the best candidate for stage {stage} would take {self.told(taken)} here, more than "
            f"goal.within_time={limit} ({self.how})"
        )


def with_time_as_flops(spec: Spec, dataset: Dataset) -> Spec:
    """The spec with `goal.within` decided by `goal.within_time`, where that is to be done.

    The FLOPs are those of a single student of the first class that takes as long, at most the
    teacher's own: a share of these or, where they are not known, a number. Where more FLOPs keep to
    the time than are ever planned, or the teacher's time is not known yet, nothing is decided:
    winners are timed alone.

    Raises:
        SpecError: if not even the smallest student keeps to it, of the teacher only answers are
            known, which take no time, or this machine has fewer cores than threads are wanted.
        MissingDependencyError: if the runtime is not installed.
    """
    goal, limit = spec.goal, TimeLimit.of(spec.goal)
    if goal is None or limit is None:
        return spec
    by_answers = answers_are_given(dataset, spec)
    check_measurable(limit, by_answers and dataset.teacher_seconds is None)
    if goal.within is not None:  # also on resuming, when the teacher may be gone
        return spec
    source = teacher_source(dataset, spec)
    teacher = network_of(source)
    if limit.share is not None and teacher is None and dataset.teacher_seconds is None:
        return spec
    timed, flops = timer_of(limit, teacher, dataset, dataset.teacher_seconds), source.known_flops()
    most = flops or first_costs(spec, dataset).flops * GROWTH ** (MOST_STAGES - 1)
    single = SingleStudents(*spec.space.first_students[0], dataset, limit, timed)
    smallest = single.taken(single.least)
    if math.isnan(smallest):  # the teacher fails when it is timed, of which a warning tells
        return spec
    if smallest > limit.most:
        asked = f"{goal.within_time:.3g} of the teacher's time" if limit.share else goal.within_time
        took = f"{smallest:.2f} of it" if limit.share else limit.told(smallest)
        raise SpecError(
            f"goal.within_time is {asked}, but the smallest student ({single.kind} of width "
            f"{single.least}) takes {took} on this machine, {limit.how}; raise it, or "
            f"{remedy_for(spec)} (of small networks most is the time of calls, whatever the width)."
        )
    found = flops_within(single, smallest, limit.most, most)
    if flops is None and found is None:
        return spec
    within: int | float = most if found is None else found
    within = within / flops if flops else max(2, round(within))
    return spec.model_copy(update={"goal": goal.model_copy(update={"within": within})})


def check_measurable(limit: TimeLimit, answers_alone: bool) -> None:
    """Refuse what cannot be measured here.

    Raises:
        SpecError: if of the teacher only answers are known, or threads would share cores.
        MissingDependencyError: if the runtime is not installed.
    """
    if limit.runtime == "onnxruntime":
        check_packages()
    if limit.share is not None and answers_alone:
        raise SpecError(
            "goal.within_time is a share of the teacher's time, but of teacher.columns only the "
            "answers are known; give a duration such as 2ms, or the model itself (teacher.model)."
        )
    cores = os.cpu_count() or 1
    if limit.threads > cores:
        raise SpecError(
            f"goal.threads is {limit.threads}, but this machine, which measures goal.within_time, "
            f"has {cores} cores; lower it."
        )


@dataclass(frozen=True)
class SingleStudents:
    """What students of one class take and cost alone.

    Attributes:
        kind: the class.
        least: its smallest width.
        dataset: what they answer.
        limit: says in which unit time is told.
        timed: measures them.
    """

    kind: str
    least: int
    dataset: Dataset
    limit: TimeLimit
    timed: StageTimer

    def build(self, width: int) -> list[Student]:
        """A new one without connections, in evaluation mode."""
        config = StudentConfig(self.kind, width, "none", skip=False)
        shape, outputs = self.dataset.input_shape, self.dataset.outputs
        return [build_student(config, shape, outputs, ()).eval()]

    def taken(self, width: int) -> float:
        """Time of a width, in the limit's unit."""
        ensemble = ProgressiveEnsemble(self.dataset.outputs, self.build(width)).eval()
        return self.limit.taken(self.timed(ensemble))

    def cost(self, width: int) -> int:
        """FLOPs of a width."""
        return sum(folded_flops(s, self.dataset.input_shape, ()) for s in self.build(width))

    def widest(self, most: float) -> int:
        """The width that costs `most` FLOPs."""
        return widest(self.cost, most, self.least, self.kind)


def flops_within(
    students: SingleStudents, smallest: float, limit: float, most: float
) -> float | None:
    """FLOPs of a student that takes as long as it may; None if `most` of them keep to it.

    Widths are doubled until one takes longer, for each may have to be exported; between the last
    two, time is taken to grow with the FLOPs.

    Args:
        students: of one class.
        smallest: taken by the smallest, which is within the limit.
        limit: in the unit of the students' own.
        most: FLOPs.
    """
    widths = students.widest(most)
    width, time = students.least, smallest
    while width < widths:
        wider = min(2 * width, widths)
        longer = students.taken(wider)
        if longer > limit:
            share = (limit - time) / (longer - time)
            cost = students.cost(width)
            return cost + share * (students.cost(wider) - cost)
        width, time = wider, longer
    return None


def timer_of(
    limit: TimeLimit,
    teacher: nn.Module | None,
    dataset: Dataset,
    teacher_seconds: float | None = None,
) -> StageTimer:
    """Measures an ensemble's last stage beside its teacher, as a limit wants it.

    Args:
        limit: names runtime and threads.
        teacher: a network of standardised features, timed in turns with the stage.
        dataset: whose examples they take.
        teacher_seconds: what counts where there is no network.

    Raises:
        MissingDependencyError: if the runtime is not installed.
    """
    rule, shape = dataset.standardisation, dataset.input_shape
    affine = Affine(as_tensor(rule.shift), as_tensor(rule.scale))
    wanted = teacher if limit.share is not None else None
    timer = stage_timer(wanted, affine, shape, limit.runtime, limit.threads)

    def timed(ensemble: ProgressiveEnsemble) -> StageSeconds:
        stage, reference = timer(ensemble)
        return StageSeconds(stage, reference or teacher_seconds)

    return timed
