"""A sampler that goes through every combination of a space's lists."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from optuna.distributions import CategoricalDistribution

from bdistil.runs.trial import TrialResult
from bdistil.searching.dimensions import constants, distributions
from bdistil.spec import SpaceSpec


class GridSampler:
    """Every combination of the lists in turn, starting anew in each round."""

    def __init__(self, space: SpaceSpec) -> None:
        self.fixed = constants(space)
        lists: dict[str, Sequence[Any]] = {
            name: d.choices
            for name, d in distributions(space).items()
            if isinstance(d, CategoricalDistribution)
        }
        self.classes = [name for name, _ in space.rungs]
        self.points = [
            dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())
        ]
        self.variants = {
            student: [
                {f"{student}.{name}": value for name, value in options.items()}
                for options in space.variants(student)
            ]
            for student in space.students
        }

    def open_round(self, number: int) -> None:
        """Nothing to prepare."""

    def ask(
        self,
        round_number: int,
        number: int,
        cohort: dict[str, Any] | None = None,
        rung: int = 0,
    ) -> dict[str, Any]:
        """The grid's next point, from its start again after its end; grids know no cohorts.

        A class's architectures take turns as fast as its other values do.
        """
        values = self.fixed | self.points[number % len(self.points)]
        if self.classes[rung] is not None:
            values["student"] = self.classes[rung]
        own = self.variants[values["student"]]
        return values | own[number // len(self.points) % len(own)]

    def tell(self, result: TrialResult) -> None:
        """Nothing to learn."""
