"""A search's goal: stages planned up to a limit of cost, and the end once enough is reached."""

from __future__ import annotations

import math

import torch

from bdistil.core.growth import folded_flops
from bdistil.core.progressive_ensemble import ProgressiveEnsemble
from bdistil.core.recipes import recipe
from bdistil.core.student import StudentConfig
from bdistil.data.dataset import Dataset
from bdistil.errors import SpecError
from bdistil.export.checkpoint import build_student
from bdistil.spec import Range, Spec
from bdistil.zoo.registry import student_class

GROWTH = 1.7  # cumulative cost of a stage over the one before, about
MOST_STAGES = 12


def plan_stages(
    spec: Spec, within: float | None, dataset: Dataset, teacher_flops: int | None
) -> Spec:
    """The spec with its rounds and growth decided, geometrically up to `goal.within`.

    Learning rates are searched where none is given.

    Args:
        spec: what it names itself stays.
        within: share of the teacher's FLOPs that the last stage may cost; None without a limit.
        dataset: its data.
        teacher_flops: of one example; None if they cannot be counted.

    Raises:
        SpecError: if a limit is given that cannot be kept or told.
    """
    rounds, growth = spec.search.rounds, spec.space.growth
    if within is None or teacher_flops is None:
        growth = GROWTH if growth is None else growth
    else:
        room = within * teacher_flops / first_cost(spec, dataset)
        if room < 1:
            raise SpecError(
                f"goal.within={within:g} of the teacher's {teacher_flops:,} FLOPs is less than the "
                f"first student's {first_cost(spec, dataset):,}; raise it, or begin space.ladder "
                f"with something smaller than {spec.space.ladder[0]}."
            )
        if rounds is None:
            rounds = stages_within(room, growth or GROWTH)
        if growth is None:
            growth = max(1.05, room ** (1 / max(1, rounds - 1)))
    rates = {} if spec.space.values("lr") else {"lr": slower_rates(spec)}
    return spec.model_copy(
        update={
            "search": spec.search.model_copy(update={"rounds": rounds or MOST_STAGES}),
            "space": spec.space.model_copy(update=rates | {"growth": growth}),
        }
    )


def slower_rates(spec: Spec) -> Range:
    """Learning rates from a tenth of the student classes' own up to these.

    Their own were found on small data, where they are best; larger ones overfit with them.
    """
    own = [student_class(kind).lr for kind in spec.space.students]
    return Range(low=min(own) / 10, high=max(own), log=True)


def stages_within(room: float, growth: float) -> int:
    """How many stages lead from a first cost to `room` times that."""
    return min(MOST_STAGES, max(2, 1 + math.ceil(math.log(room) / math.log(growth))))


def first_cost(spec: Spec, dataset: Dataset) -> int:
    """FLOPs of the smallest first student."""

    own, width = spec.space.rungs[0]

    def cost(kind: str) -> int:
        with torch.device("meta"):
            config = StudentConfig(kind, width, "none", skip=False)
            student = build_student(config, dataset.input_shape, dataset.outputs, ())
        return folded_flops(student, dataset.input_shape, ())

    return min(map(cost, [own] if own else spec.space.students))


def cost_of_narrowest(spec: Spec, ensemble: ProgressiveEnsemble, shape: tuple[int, ...]) -> int:
    """FLOPs that a next student of width 1 adds, of the dearest class and connection."""
    connections = spec.space.values("connection") or tuple(
        recipe(name).connection for name in spec.recipes
    )

    def cost(kind: str, connection: str) -> int:
        config, earlier = StudentConfig(kind, 1, connection, skip=False), ensemble.features
        with torch.device("meta"):
            student = build_student(config, shape, ensemble.outputs, earlier)
        return folded_flops(student, shape, earlier)

    return max(cost(kind, each) for kind in spec.space.students for each in connections)
