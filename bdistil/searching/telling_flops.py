"""Fewer FLOPs for the last stage where FLOPs say too little of the time (`goal.within_time: auto`).

Half of the teacher's FLOPs are worth having because they are about half of its time. Of some
students they are not: those that slide over time and frequency, or depthwise ones, take nearly as
long as a teacher of twice their FLOPs, as soon as there are two of them. A limit by the clock,
which `goal.within_time` is otherwise, would let the clock decide on each stage; this one decides
once, coarsely, so that the same search comes out again.
"""

from __future__ import annotations

import math
import statistics

from bdistil.core.student import Student
from bdistil.data.dataset import Dataset
from bdistil.searching.time_limit import SingleStudents, TimeLimit, flops_within, timer_of
from bdistil.spec import Spec
from bdistil.spec.goal import AUTO, amount_of
from bdistil.teachers.select import teacher_source
from bdistil.teachers.source import network_of

MISLEADING = 1.4
"""Times their share of the FLOPs that two students take of the teacher's time. Of tables, images
and series, whose teachers are bdistil's own, they take at most 1.2 times of it, of recordings 1.7
(results/2026-11-29-spoken)."""

STAGES = 3  # of the smallest student's cost, for which there is room in any case
READINGS = 5
COARSE = (1, 1.5, 2, 3, 5, 7, 10)


class StudentPairs(SingleStudents):
    """What ensembles of two take and cost: of the smallest student and one of a width."""

    def build(self, width: int) -> list[Student]:
        """Both, in evaluation mode."""
        return [*super().build(self.least), *super().build(width)]

    def taken(self, width: int) -> float:
        """The median of several readings, for other work on the machine makes one waver."""
        return statistics.median(SingleStudents.taken(self, width) for _ in range(READINGS))


def with_telling_flops(spec: Spec, dataset: Dataset) -> Spec:
    """The spec with `goal.within` decided: lowered where two students of it take too long.

    It becomes the share at which two students of the first class take as much of the teacher's time
    as `within` asked of its FLOPs, but at least that of three of the smallest, so coarsely that
    measuring again decides the same. Where the smallest one takes longer than that, fewer FLOPs
    would not help. What cannot be measured, the time of answers that are stored in a table or of
    an estimator that is not fitted yet, changes nothing.
    """
    goal = spec.goal
    if goal is None or goal.within_time != AUTO:
        return spec
    decided = {"within_time": None, "within": telling_share(spec, dataset) or goal.within}
    return spec.model_copy(update={"goal": goal.model_copy(update=decided)})


def telling_share(spec: Spec, dataset: Dataset) -> float | None:
    """The share of the teacher's FLOPs to which the limit is lowered; None if it stays."""
    goal = spec.goal
    if goal is None or goal.within is None:
        return None
    source = teacher_source(dataset, spec)
    teacher, flops = network_of(source), source.known_flops()
    most = amount_of(goal.within, flops)
    if teacher is None or flops is None or most is None:
        return None
    share = most / flops
    limit = TimeLimit(share, None)
    of_class = *spec.space.first_students[0], dataset, limit, timer_of(limit, teacher, dataset)
    single, pair = SingleStudents(*of_class), StudentPairs(*of_class)
    least = STAGES * single.cost(single.least)
    if not least < most or single.taken(single.least) > share:
        return None
    if pair.taken(pair.widest(most)) <= MISLEADING * share:
        return None
    smallest = pair.taken(pair.least)
    found = least if smallest > share else flops_within(pair, smallest, share, most)
    if found is None:
        return None
    lowered = coarse(max(found, least) / flops)
    return lowered if lowered < share else None


def coarse(share: float) -> float:
    """The nearest, by their ratio, of 1, 1.5, 2, 3, 5 and 7 times a power of ten."""
    power = math.floor(math.log10(share))
    nearest = min(COARSE, key=lambda each: abs(math.log(each) - math.log(share / 10**power)))
    return float(f"{nearest * 10**power:.2g}")


def told_flops(asked: Spec, spec: Spec) -> str | None:
    """That the limit was lowered, in a sentence; None if it was not."""
    goal, wanted = spec.goal, asked.goal
    if goal is None or wanted is None or wanted.within_time != AUTO:
        return None
    if goal.within is None or wanted.within in (None, goal.within):
        return None
    return (
        f"goal.within: {goal.within:g} of the teacher's FLOPs, as two students of "
        f"{wanted.within:g} would take more than {MISLEADING:g} times that share of its time (by "
        "torch on 1 thread; "
        "goal.within_time=null leaves it)"
    )
