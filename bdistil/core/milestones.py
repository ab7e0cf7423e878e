"""Milestones of training: where candidates are compared and the worse ones cut.

They are what successive halving (arXiv 1502.07943, asynchronous: 1810.05934) calls rungs; the name
leaves that word to the classes of the ladder. They lie at equal shares of each candidate's own
schedule, so that candidates of different lengths are compared equally far from their end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from bdistil.core.round import Round
from bdistil.core.student import Student
from bdistil.errors import SearchError

Losses = tuple[tuple[int, float], ...]
"""Epochs trained and the validation loss then, first milestone first."""

Cutter = Callable[[int, Mapping[int, float]], Collection[int]]
"""Given a milestone's step and the loss of each candidate by its number: those to be cut."""


@dataclass(frozen=True)
class Milestones:
    """When candidates are looked at, and who decides whether they go on.

    Attributes:
        first: share of a schedule that lies before the first milestone.
        factor: each further one lies that many times as far from the start.
        cut: decides; its steps are 1, `factor`, `factor`², ...
    """

    first: float
    factor: int
    cut: Cutter

    def steps(self, epochs: int) -> dict[int, int]:
        """The step of each milestone within a schedule, by the epochs that lie before it."""
        found, step = {}, 1
        while (done := max(1, round(self.first * step * epochs))) < epochs:
            found[done] = step  # in short schedules the later of two on one epoch
            step *= self.factor
        return found

    def recall(self, epochs: int, losses: Sequence[Sequence[tuple[int, float]]]) -> None:
        """Let candidates count that have passed milestones in an earlier part of their training.

        Whoever compares may have begun anew since; that they went on is decided.

        Args:
            epochs: of a schedule.
            losses: of each candidate by its place, as in :data:`Losses`.
        """
        reached = [dict(each) for each in losses]
        for done, step in self.steps(epochs).items():
            there = {place: each[done] for place, each in enumerate(reached) if done in each}
            if there:
                self.cut(step, there)


@dataclass(frozen=True)
class Cut:
    """A candidate that went no further than a milestone.

    Attributes:
        losses: at its milestones, that one last.
        gain: there, by how much its loss was below the one without it, as a share of the latter.
        seconds: time spent on training.
    """

    losses: Losses
    gain: float
    seconds: float

    @classmethod
    def at(cls, losses: Sequence[tuple[int, float]], state: Round, seconds: float) -> Cut:
        """The end of a candidate of a round at the last of its milestones."""
        return cls(tuple(losses), state.gain(losses[-1][1]), seconds)


def loss_now(student: Student, state: Round, remedy: str) -> float:
    """Validation loss of the ensemble with a student that is not trained to its end.

    Raises:
        SearchError: if it is not finite, with the remedy.
    """
    training = student.training
    student.eval()
    loss = state.measure.loss(state.validation.joined(student).ensemble, state.validation)
    student.train(training)
    if not math.isfinite(loss):
        raise SearchError(f"the validation loss became {loss}; {remedy}.")
    return loss
