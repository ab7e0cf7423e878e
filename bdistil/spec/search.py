"""How rounds are searched, and on which workers."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    field_validator,
    model_validator,
)

from bdistil.names import Algorithm, Fallback, Normalisation, Precision, PrunerName, Selection
from bdistil.paths import fault_of_path, shown_path
from bdistil.spec.section import MOST_WORKERS, Count, Section

ROUNDS, TRIES = 6, 4  # where nothing is said


class PrunerSpec(Section):
    """How candidates are compared while they train, and the worse ones cut."""

    name: PrunerName = "halving"
    """`halving`: asynchronous successive halving; `hyperband`: the same with brackets, some of
    which begin to cut later
    """
    first: Annotated[float, Field(gt=0, lt=1)] = 0.125
    """share of a candidate's epochs before its first milestone"""
    factor: Annotated[int, Field(ge=2, le=64)] = 2
    """each further milestone lies that many times as far; of those of a class and round that have
    reached one, the best 1/factor go on
    """


class SearchSpec(Section):
    """How rounds are searched and what counts as a winner."""

    algorithm: Algorithm = "tpe"
    """`tpe`, `gp` (Gaussian process), `random` or `grid` (lists only). CMA-ES is not among them: it
    knows no lists, and Optuna keeps its state in pickles
    """
    rounds: Count | None = None
    """T, the most students; null: 6, or as many as the goal needs"""
    trials_per_round: Count | None = None
    """most trials in one round; null: the tries of all classes"""
    tries_per_class: Count | None = None
    """trials before the next larger class; null: 4, or 8 where they train together without more
    time (`cohort`), or as many as keep `workers.count` workers busy (cohorts for each worker: 1
    with 2, 4 with 8, 5 with 16, 7 with 64)
    """
    select: Selection = "best"
    """`first` weak learner to finish, or `best` of the class on validation"""
    fallback: Fallback = "helpful"
    """what a round without a weak learner keeps: the candidate with which the ensemble answers
    best on validation, if that is better than without it (`helpful`), the one of the largest gain
    whatever it does (`best`), or `none`; a round without a student ends the search. With `select:
    best` a helpful one also comes before weak learners if it answers better by a standard error
    """
    grace: NonNegativeFloat = 0
    """seconds that others get after the first winner"""
    pruner: PrunerSpec | None = None
    """cuts candidates by their validation loss at milestones of training: `halving`, `hyperband`
    (some begin to be cut later), or a section of `name`, `first` (share of the epochs before the
    first milestone, .125) and `factor` (the best 1/factor go on, 2); null trains each to its end
    """
    cohort: Count | None = None
    """candidates of one class that train together, where torch can stack them; null: all that a
    worker gets of the class where that is sooner (small students) and costs no choice (trials
    differ in `gamma`, `lr`, `weight_decay` and `correction_bound` alone), else 1
    """
    precision: Precision = "fp32"
    """of students' products while they train: `fp32` or, by autocast, `bf16`; judging is always
    fp32
    """
    normalisation: Normalisation | None = None
    """`joint` or `per_label`; null takes the recipe's"""
    min_edge: float = 0
    """least edge of a weak learner from round 2 on; in round 1 every edge is zero"""
    min_gain: float = 0
    """least relative gain in validation loss"""
    time_budget: PositiveFloat | None = None
    """seconds of one run of the command; a resumed search has them anew"""
    max_failures: NonNegativeInt = 8
    """failed trials that stop the search"""
    warm_start: list[str] = Field([])
    """run directories (paths or URIs) whose trials the sampler learns from before its own: round 1
    from those of round 1, the others from all, at most from the last 300
    """

    def least_edge(self, number: int) -> float:
        """Of a weak learner in a round: in round 1, where every edge is zero, none may be asked."""
        return min(self.min_edge, 0.0) if number == 1 else self.min_edge

    @property
    def most_rounds(self) -> int:
        """T."""
        return self.rounds or ROUNDS

    @property
    def tries(self) -> int:
        """Trials of one class."""
        return self.tries_per_class or TRIES

    @property
    def together(self) -> int:
        """Candidates of a cohort."""
        return self.cohort or 1

    def most_trials(self, classes: int) -> int:
        """Trials of a round in which no class has a weak learner."""
        every_class = self.tries * classes
        return min(self.trials_per_round or every_class, every_class)

    def reached_classes(self, classes: int) -> int:
        """To how many of so many classes the trials of a round get."""
        return -(-self.most_trials(classes) // self.tries)

    @model_validator(mode="after")
    def _grace_needs_first(self) -> SearchSpec:
        if self.grace and self.select == "best":
            raise ValueError("grace goes with select: first; best waits for all trials anyway")
        return self

    @field_validator("algorithm", mode="before")
    @classmethod
    def _without_cma_es(cls, value: Any) -> Any:
        if isinstance(value, str) and value.lower().replace("-", "").startswith("cmaes"):
            raise ValueError(
                "there is no CMA-ES: it knows no lists of choices and, in Optuna, keeps its state "
                "in pickles, which no search here loads; take tpe or gp"
            )
        return value

    @field_validator("warm_start")
    @classmethod
    def _places(cls, places: list[str]) -> list[str]:
        for place in places:
            if fault := fault_of_path(place):
                raise ValueError(f"{shown_path(place)} {fault}; give run directories")
        return places

    @field_validator("pruner", mode="before")
    @classmethod
    def _pruner_by_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="before")
    @classmethod
    def _without_beam(cls, content: Any) -> Any:
        """Runs of earlier versions name a beam, whose default was 1."""
        if isinstance(content, dict) and "beam" in content:
            if content["beam"] != 1:
                raise ValueError(
                    "beam is gone, since it found nothing that select: best with as many trials "
                    "does not; remove it and raise trials_per_round"
                )
            content = {name: value for name, value in content.items() if name != "beam"}
        return content


class WorkerSpec(Section):
    """Workers of the Ray cluster and what each trial takes of it."""

    count: Annotated[int, Field(ge=0, le=MOST_WORKERS)] | None = None
    """trials that run at the same time; 0 searches in the command's own process, without Ray;
    null: 0 for work of about a minute, which would end before a cluster has started, else 2, as on
    a cluster with an address, with `workers.gpus`, `tracking.callbacks` or `teacher.workers`
    """
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

    @property
    def trials(self) -> int:
        """How many run at the same time; of a resolved spec."""
        assert self.count is not None
        return self.count
