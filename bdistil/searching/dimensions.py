"""What of a space is searched, as Optuna's distributions, and what is constant."""

from __future__ import annotations

from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from bdistil.spec import Range, SpaceSpec
from bdistil.spec.space import DIMENSIONS, WITHOUT_EFFECT_IN_ROUND_1


def distributions(space: SpaceSpec) -> dict[str, BaseDistribution]:
    """Optuna's distributions of the dimensions that are not constant."""
    found: dict[str, BaseDistribution] = {}
    for name in DIMENSIONS:
        value = getattr(space, name)
        if isinstance(value, Range):
            found[name] = FloatDistribution(value.low, value.high, log=value.log)
        elif isinstance(value, list) and len(value) > 1:
            found[name] = CategoricalDistribution(value)
    return found


def conditional_distributions(space: SpaceSpec) -> dict[str, CategoricalDistribution]:
    """Optuna's distributions of what one student class alone has: its options that are searched."""
    return {
        f"{student}.{name}": CategoricalDistribution(values)
        for student in space.students
        for name, values in space.choices_of(student).items()
        if len(values) > 1
    }


def of_class(
    conditional: dict[str, CategoricalDistribution], student: str
) -> dict[str, CategoricalDistribution]:
    """Those of one student class."""
    return {k: each for k, each in conditional.items() if k.startswith(f"{student}.")}


def constants(space: SpaceSpec) -> dict[str, Any]:
    """Values of the dimensions that are constant; None where the recipe decides."""
    free = distributions(space)
    values = {name: getattr(space, name) for name in DIMENSIONS if name not in free}
    return {k: v[0] if isinstance(v, list) else v for k, v in values.items()}


def dimensions_of_round(
    space: dict[str, BaseDistribution], number: int
) -> dict[str, BaseDistribution]:
    """The dimensions that have an effect in a round."""
    if number > 1:
        return space
    return {name: each for name, each in space.items() if name not in WITHOUT_EFFECT_IN_ROUND_1}
