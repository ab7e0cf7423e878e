"""What the stages of a search may cost at most, and what an ensemble's last stage costs."""

from __future__ import annotations

import copy
from typing import NamedTuple

from bdistil.core.growth import folded_flops, folded_parameters
from bdistil.core.progressive_ensemble import ProgressiveEnsemble
from bdistil.errors import SpecError
from bdistil.spec import GoalSpec
from bdistil.spec.goal import amount_of, is_count

COSTS = {"flops": ("FLOPs", "within"), "parameters": ("parameters", "within_parameters")}
"""What is counted: in words, and the goal's field that limits it."""


class Costs(NamedTuple):
    """Of one example, folded."""

    flops: int
    parameters: int


class CostLimits(NamedTuple):
    """Most that the last stage may cost, folded; None without a limit."""

    flops: float | None = None
    parameters: float | None = None

    @classmethod
    def of(
        cls, goal: GoalSpec | None, flops: int | None, parameters: int | None = None
    ) -> CostLimits:
        """A goal's, in figures of its teacher; a share of what is not known sets no limit."""
        if goal is None:
            return NO_LIMITS
        return cls(amount_of(goal.within, flops), amount_of(goal.within_parameters, parameters))

    def __bool__(self) -> bool:
        """Whether there is any."""
        return self != NO_LIMITS

    def told(self) -> str:
        """In words."""
        pairs = zip(self, COSTS.values(), strict=True)
        return " and ".join(f"{most:,.0f} {unit}" for most, (unit, _) in pairs if most is not None)

    def exceeded_by(self, costs: Costs) -> list[str]:
        """The names of those that costs are above."""
        pairs = zip(COSTS, costs, self, strict=True)
        return [name for name, cost, most in pairs if most is not None and cost > most]


NO_LIMITS = CostLimits()


def check_counted(goal: GoalSpec, parameters: int | None, kind: str) -> None:
    """Refuse a share of parameters that nobody can count.

    Args:
        goal: of the search.
        parameters: the teacher's; None if they are not known.
        kind: the teacher's.

    Raises:
        SpecError: if the goal wants such a share.
    """
    amount = goal.within_parameters
    if amount is not None and not is_count(amount) and parameters is None:
        raise SpecError(
            f"goal.within_parameters={amount:g} is a share of the teacher's parameters, which "
            f"nobody can count for a teacher of this kind ({kind}); give a number of parameters "
            f"instead, such as 20000."
        )


def costs_of(ensemble: ProgressiveEnsemble, input_shape: tuple[int, ...]) -> Costs:
    """What going straight to the last stage costs."""
    return Costs(sum(stage_flops(ensemble, input_shape)), parameters_of(ensemble))


def parameters_of(ensemble: ProgressiveEnsemble) -> int:
    """Values that the folded ensemble holds; also of one on the meta device, or without students.

    As many as those of :class:`~bdistil.core.folding.FoldedPrefix`.
    """
    return sum(folded_parameters(student) for student in ensemble) + ensemble.outputs


def stage_flops(ensemble: ProgressiveEnsemble, input_shape: tuple[int, ...]) -> list[int]:
    """FLOPs that each student adds to the folded ensemble."""
    shadow = copy.deepcopy(ensemble).to("meta")
    return [
        folded_flops(student, input_shape, ensemble.features[:index])
        for index, student in enumerate(shadow)
    ]
