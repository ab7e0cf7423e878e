"""Fewer FLOPs for the last stage where FLOPs say too little of the time (`goal.within_time: auto`).

Half of the teacher's FLOPs are worth having because they are about half of its time. Of some
students they are not: convolutions along time, or depthwise ones, take as long as a teacher of
twice their FLOPs. A limit by the clock, which `goal.within_time` is otherwise, would let the clock
decide on each stage; this one decides once, coarsely, so that the same search comes out again.
"""

from __future__ import annotations

from bdistil.data.dataset import Dataset
from bdistil.searching.time_limit import SingleStudents, TimeLimit, flops_within, timer_of
from bdistil.spec import Spec
from bdistil.spec.goal import AUTO, amount_of
from bdistil.teachers.select import teacher_source
from bdistil.teachers.source import network_of

MISLEADING = 1.5
"""Times its share of the FLOPs that a student takes of the teacher's time. Students of two dense
layers or convolutions take .6 to 1.4 times of it, where their teachers are bdistil's own."""


def with_telling_flops(spec: Spec, dataset: Dataset) -> Spec:
    """The spec with `goal.within` decided: lowered where a student of it takes too long.

    It becomes the share at which a student of the first class takes as much of the teacher's time
    as `within` asked of its FLOPs, to one digit, so that measuring again decides the same. Where
    the smallest one takes longer than that, fewer FLOPs would not help. What cannot be measured,
    the time of answers that are stored in a table or of an estimator that is not fitted yet,
    changes nothing.
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
    timed = timer_of(limit, teacher, dataset)
    single = SingleStudents(*spec.space.first_students[0], dataset, limit, timed)
    smallest = single.taken(single.least)
    if smallest > share or single.taken(single.widest(most)) <= MISLEADING * share:
        return None
    found = flops_within(single, smallest, share, most)
    return None if found is None else float(f"{found / flops:.1g}")


def told_flops(asked: Spec, spec: Spec) -> str | None:
    """That the limit was lowered, in a sentence; None if it was not."""
    goal, wanted = spec.goal, asked.goal
    if goal is None or wanted is None or wanted.within_time != AUTO:
        return None
    if goal.within is None or wanted.within in (None, goal.within):
        return None
    return (
        f"goal.within: {goal.within:g} of the teacher's FLOPs, as {wanted.within:g} would take "
        f"more than {MISLEADING:g} times that share of its time (by torch on 1 thread; "
        "goal.within_time=null leaves it)"
    )
