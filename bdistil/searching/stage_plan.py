"""A search's goal: stages planned up to a limit of cost, and the end once enough is reached."""

from __future__ import annotations

import math

import torch

from bdistil.core.growth import folded_flops, folded_parameters, widest
from bdistil.core.progressive_ensemble import ProgressiveEnsemble
from bdistil.core.recipes import recipe
from bdistil.core.student import StudentConfig
from bdistil.data.dataset import Dataset
from bdistil.errors import SpecError
from bdistil.export.checkpoint import build_student
from bdistil.searching.cost_limits import COSTS, CostLimits, Costs, costs_of
from bdistil.spec import Range, Spec
from bdistil.spec.goal import is_count
from bdistil.spec.space import LADDER
from bdistil.zoo.registry import student_class

GROWTH = 1.7  # cumulative cost of a stage over the one before, about
MOST_STAGES = 12


def plan_stages(spec: Spec, most_flops: float | None, dataset: Dataset) -> Spec:
    """The spec with its rounds and growth decided, geometrically up to a limit.

    Learning rates are searched where none is given, unless by a grid, which takes lists alone.

    Args:
        spec: what it names itself stays.
        most_flops: that the last stage may cost; None without a limit.
        dataset: its data.
    """
    rounds, growth = spec.search.rounds, spec.space.growth
    if most_flops is None:
        growth = GROWTH if growth is None else growth
    else:
        room = max(1.0, most_flops / first_costs(spec, dataset).flops)
        if rounds is None:
            rounds = stages_within(room, growth or GROWTH)
        if growth is None:
            growth = max(1.05, room ** (1 / max(1, rounds - 1)))
    given = spec.space.values("lr") or spec.search.algorithm == "grid"
    rates = {} if given else {"lr": slower_rates(spec)}
    return spec.model_copy(
        update={
            "search": spec.search.model_copy(update={"rounds": rounds or MOST_STAGES}),
            "space": spec.space.model_copy(update=rates | {"growth": growth}),
        }
    )


def narrowed(spec: Spec, dataset: Dataset, limits: CostLimits) -> Spec:
    """The spec with a narrower ladder, if nobody has named one and its first student is too dear.

    The new first one costs at most half of what the last stage may, so that there is more than one.
    """
    if spec.space.ladder is not None or not limits.exceeded_by(first_costs(spec, dataset)):
        return spec
    room = CostLimits(*(None if most is None else most / 2 for most in limits))
    for width in range(LADDER[0] - 1, 0, -1):
        space = spec.space.model_copy(update={"ladder": [width, 2 * width, 4 * width]})
        spec = spec.model_copy(update={"space": space})
        if not room.exceeded_by(first_costs(spec, dataset)):
            break
    return spec


def told_ladder(spec: Spec) -> str:
    """That it is narrower, in a sentence."""
    return (
        f"ladder: {spec.space.ladder}, as a first student of width {LADDER[0]} would cost more "
        f"than the last stage may (space.ladder)"
    )


def check_first_student(spec: Spec, dataset: Dataset, limits: CostLimits) -> None:
    """Refuse limits that not even the first student keeps to.

    Raises:
        SpecError: with the arithmetic.
    """
    if not limits:
        return
    first = first_costs(spec, dataset)
    for name in limits.exceeded_by(first):
        unit, field = COSTS[name]
        amount, most = getattr(spec.goal, field), getattr(limits, name)
        asked = f"{most:,.0f} {unit}"
        if not is_count(amount):
            asked = f"{amount:g} of the teacher's {most / amount:,.0f} {unit}"
        raise SpecError(
            f"goal.{field}={asked} is less than the first student's {getattr(first, name):,}; "
            f"raise it, or {remedy_for(spec)}."
        )


def remedy_for(spec: Spec) -> str:
    """What to change where the smallest first student is too dear."""
    width = spec.space.first_students[0][1]
    if width == 1:
        return "choose another space.student"
    return f"begin space.ladder with something smaller than {width}"


def flops_to_plan(spec: Spec, dataset: Dataset, limits: CostLimits) -> float | None:
    """FLOPs of the last stage by which stages are planned; None without a limit.

    A limit of parameters stands for the FLOPs of the widest single student of the first class that
    keeps to it.
    """
    if limits.parameters is None:
        return limits.flops
    most, (kind, least) = limits.parameters, spec.space.first_students[0]

    def parameters(width: int) -> int:
        return costs_of_first(kind, width, dataset).parameters

    flops = costs_of_first(kind, widest(parameters, most, least, kind), dataset).flops
    return flops if limits.flops is None else min(flops, limits.flops)


def slower_rates(spec: Spec) -> Range:
    """Learning rates from a tenth of the student classes' own up to these.

    Their own were found on small data, where they are best; larger ones overfit with them.
    """
    own = [student_class(kind).lr for kind in spec.space.students]
    return Range(low=min(own) / 10, high=max(own), log=True)


def stages_within(room: float, growth: float) -> int:
    """How many stages lead from a first cost to `room` times that."""
    return min(MOST_STAGES, max(2, 1 + math.ceil(math.log(room) / math.log(growth))))


def first_costs(spec: Spec, dataset: Dataset) -> Costs:
    """Of the smallest first student."""
    costs = [costs_of_first(kind, width, dataset) for kind, width in spec.space.first_students]
    flops, parameters = zip(*costs, strict=True)
    return Costs(min(flops), min(parameters))


def costs_of_first(kind: str, width: int, dataset: Dataset) -> Costs:
    """Of a first student."""
    shape, outputs = dataset.input_shape, dataset.outputs
    with torch.device("meta"):
        student = build_student(StudentConfig(kind, width, "none", skip=False), shape, outputs, ())
    return costs_of(ProgressiveEnsemble(outputs, [student]), shape)


def costs_of_narrowest(spec: Spec, ensemble: ProgressiveEnsemble, shape: tuple[int, ...]) -> Costs:
    """What a next student of width 1 adds, of the dearest class and connection."""
    connections = spec.space.values("connection") or tuple(
        recipe(name).connection for name in spec.recipes
    )

    def costs(kind: str, connection: str) -> Costs:
        config, earlier = StudentConfig(kind, 1, connection, skip=False), ensemble.features
        with torch.device("meta"):
            student = build_student(config, shape, ensemble.outputs, earlier)
        return Costs(folded_flops(student, shape, earlier), folded_parameters(student))

    added = [costs(kind, each) for kind in spec.space.students for each in connections]
    flops, parameters = zip(*added, strict=True)
    return Costs(max(flops), max(parameters))
