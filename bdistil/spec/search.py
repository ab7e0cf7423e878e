"""How rounds are searched, and on which workers."""

from __future__ import annotations

from typing import Literal

from pydantic import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from bdistil.names import Normalisation, Precision
from bdistil.spec.section import Section


class SearchSpec(Section):
    """How rounds are searched and what counts as a winner."""

    algorithm: Literal["tpe", "random", "grid"] = "tpe"
    """`tpe`, `random` or `grid` (lists only)"""
    rounds: PositiveInt = 6
    """T, the number of students"""
    trials_per_round: PositiveInt = 8
    """most trials in one round"""
    tries_per_class: PositiveInt = 4
    """trials before the next larger class"""
    select: Literal["first", "best"] = "first"
    """`first` weak learner to finish, or `best` of the class on validation"""
    grace: NonNegativeFloat = 0
    """seconds that others get after the first winner"""
    beam: PositiveInt = 1
    """partial ensembles that grow side by side; `bdistil pareto DIR` then looks at all of them;
    needs `select: best`
    """
    cohort: PositiveInt = 1
    """candidates of one class that train together, where torch can stack them"""
    precision: Precision = "fp32"
    """of students' products while they train: `fp32` or, by autocast, `bf16`. Judging is always fp32"""
    normalisation: Normalisation | None = None
    """`joint` or `per_label`; null takes the recipe's"""
    min_edge: float = 0
    """least edge of a weak learner"""
    min_gain: float = 0
    """least relative gain in validation loss"""
    time_budget: PositiveFloat | None = None
    """seconds of one run of the command; a resumed search has them anew"""
    max_failures: NonNegativeInt = 8
    """failed trials that stop the search"""

    @model_validator(mode="after")
    def _grace_needs_first(self) -> SearchSpec:
        if self.grace and self.select == "best":
            raise ValueError("grace goes with select: first; best waits for all trials anyway")
        return self

    @model_validator(mode="after")
    def _beam_needs_best(self) -> SearchSpec:
        if self.beam > 1 and self.select != "best":
            raise ValueError("beam needs select: best, as branches are compared by their best")
        if self.beam > 1 and self.time_budget is not None:
            raise ValueError("beam knows no time_budget; set rounds, or interrupt and resume")
        return self


class WorkerSpec(Section):
    """Workers of the Ray cluster and what each trial takes of it."""

    count: NonNegativeInt = 2
    """trials that run at the same time; 0 searches in the command's own process, without Ray"""
    cpus: PositiveFloat = 1
    """CPUs a trial"""
    gpus: NonNegativeFloat = 0
    """GPUs a trial; fractions share a GPU"""
    compile: bool = False
    """train by torch.compile: the same candidates up to rounding, after seconds to a minute for
    each class, width and round; needs a C++ compiler
    """
    autoscale: bool | None = None
    """whether the cluster adds nodes when trials wait: `true`, `false`, or null to ask its
    autoscaler
    """
