"""A trial of a round: what a worker is asked to do and what it answers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from bdistil.core.recipes import Recipe, recipe

Place = tuple[int, int]
"""Round and first number of a cohort."""

FIGURES = ("edge", "relative_edge", "gain", "loss", "metric", "largest_gap")


class TrialRequest(BaseModel):
    """One candidate to train.

    Attributes:
        round: t, counted from 1.
        number: the trial's number within its round, counted from 0.
        rung: index of the student class in the ladder F_1, F_2, ...
        attempt: trials of the same class before this one.
        params: sampled values, by dimension of the space.
        seed: of the student's weights and of the order of examples.
    """

    model_config = ConfigDict(frozen=True)

    round: int
    number: int
    rung: int
    attempt: int
    params: dict[str, Any]
    seed: int

    def recipe(self) -> Recipe:
        """The recipe with this trial's values put in."""
        base = recipe(self.params["recipe"])
        names = {field.name for field in dataclasses.fields(base)}
        values = {k: v for k, v in self.params.items() if k in names and v is not None}
        return dataclasses.replace(base, **values)


class TrialAnswer(BaseModel):
    """What a worker answers of a trial; the request stays with who made it.

    Attributes:
        status: ``finished`` has the figures, ``failed`` the reason, ``stopped`` lost the round,
            ``cut`` did worse than others at a milestone of its training; its `loss`, `gain` and
            `epochs` are those at that milestone.
        width: width that the growth rule and the rung gave the student.
        edges: E_j of each label.
        edge: the edge that decides; `relative_edge` is the same in [-1, 1].
        loss: validation loss of the ensemble with the student.
        gain: relative gain in it.
        metric: validation accuracy (or R²) of the ensemble with the student.
        metric_gain: by how much that is above the metric without it.
        metric_error: the standard error of an accuracy; 0 for other metrics.
        largest_gap: G = max|f - g| on the training split.
        cohort: how many candidates trained together, this one included.
        device: where it trained, and whether the data had to stay in host memory.
        weak: whether the student is a weak learner that improves the ensemble.
        milestones: where `search.pruner` compares candidates: epochs, and the validation loss then.
    """

    status: Literal["finished", "failed", "stopped", "cut"]
    reason: str = ""
    width: int = 0
    edges: tuple[float, ...] = ()
    edge: float = 0.0
    relative_edge: float = 0.0
    loss: float = 0.0
    gain: float = 0.0
    metric: float = 0.0
    metric_gain: float = 0.0
    metric_error: float = 0.0
    largest_gap: float = 0.0
    epochs: int = 0
    seconds: float = 0.0
    cohort: int = 1
    device: str = ""
    weak: bool = False
    milestones: tuple[tuple[int, float], ...] = ()

    @property
    def helps(self) -> bool:
        """Whether the ensemble answers better on validation with the student.

        By the metric; the loss decides where that is the same. It may rise as the metric does, if
        the student is too sure of itself: temperatures mend that later.
        """
        better = self.metric_gain > 0 or (self.metric_gain == 0 and self.gain > 0)
        return self.status == "finished" and better

    def checked(self, remedy: str) -> TrialAnswer:
        """Itself; failed instead, with the remedy, if one of its figures is NaN or infinite."""
        figures = {name: getattr(self, name) for name in FIGURES}
        for name, value in (("edges", sum(self.edges)), *figures.items()):
            if not math.isfinite(value):
                return TrialAnswer(status="failed", reason=f"its {name} is {value}; {remedy}")
        return self


class TrialResult(TrialAnswer):
    """What became of a trial: its answer beside its request."""

    request: TrialRequest

    def check_figures(self) -> None:
        """Refuse figures that no search keeps.

        Raises:
            ValueError: if one is NaN or infinite.
        """
        if self.status != "failed" and self.checked("").status == "failed":
            fault = self.checked("no search keeps that").reason
            raise ValueError(f"trial {self.request.number}: {fault}")


class Cohort(BaseModel):
    """Requests that one worker runs together; mostly just one.

    All are of one round and rung, and differ only in γ, learning rate, weight decay, a correction's
    bound and seed.
    """

    model_config = ConfigDict(frozen=True)

    requests: tuple[TrialRequest, ...]

    @property
    def round(self) -> int:
        """The round of all of them."""
        return self.requests[0].round

    @property
    def place(self) -> Place:
        """What tells it from all others of a search."""
        return self.round, self.requests[0].number

    @property
    def told(self) -> str:
        """Its trials, for people."""
        first, last = self.requests[0].number, self.requests[-1].number
        return f"trial {first}" if first == last else f"trials {first} to {last}"

    def ended(self, status: Literal["failed", "stopped"], reason: str = "") -> list[TrialAnswer]:
        """The same end for every request."""
        return [TrialAnswer(status=status, reason=reason) for _ in self.requests]

    def answered(self, answers: Iterable[TrialAnswer]) -> list[TrialResult]:
        """The answers, request by request, as results."""
        return [
            TrialResult(request=request, **answer.model_dump())
            for request, answer in zip(self.requests, answers, strict=True)
        ]
