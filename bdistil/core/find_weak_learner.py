"""FIND_WL: train one candidate student and check whether it is a weak learner.

B-DISTIL (arXiv 2302.10093): minimise a distillation loss plus 1/γ times a term that
pulls the edges up, then check the edges on the whole training split.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from functools import partial

from bdistil.core.milestones import Cut, Losses, Milestones, loss_now
from bdistil.core.recipes import Recipe
from bdistil.core.round import Round
from bdistil.core.student import Student
from bdistil.core.trainer import Trainer
from bdistil.core.training_split import ShouldStop, Stopped
from bdistil.core.training_state import (
    Keep,
    TrainingState,
    keep_nothing,
    only_its_own,
)
from bdistil.errors import SearchError


@dataclass(frozen=True)
class Finding:
    """A trained candidate's figures.

    Attributes:
        edges: E_j of each label.
        edge: the edge that decides (see :class:`~bdistil.core.game.Verdict`).
        relative_edge: the same in [-1, 1].
        loss: validation loss of the ensemble with the candidate.
        gain: by how much that is below the loss without it, as a share of the latter.
        metric: validation accuracy (R² for regression) of the ensemble with the candidate.
        metric_gain: by how much that is above the metric without it.
        metric_error: the standard error of an accuracy; 0 for other metrics.
        largest_gap: G = max|f - g| on the training split, in logits.
        epochs: epochs trained.
        seconds: time spent on training.
        milestones: validation losses on the way.
    """

    edges: tuple[float, ...]
    edge: float
    relative_edge: float
    loss: float
    gain: float
    metric: float
    metric_gain: float
    metric_error: float
    largest_gap: float
    epochs: int
    seconds: float
    milestones: Losses = ()

    def is_weak_learner(self, min_edge: float, min_gain: float) -> bool:
        """Whether the edges hold and the ensemble is better with it than without, by validation.

        In loss, and no worse by its metric: a stage that answers worse than the one before helps
        nobody. In round 1, where every student's edge is zero, this alone decides.
        """
        return self.edge >= min_edge and self.gain > min_gain and self.metric_gain >= 0


def find_weak_learner(
    student: Student,
    state: Round,
    recipe: Recipe,
    *,
    attempt: int = 0,
    seed: int = 0,
    min_edge: float = 0.0,
    compiled: bool = False,
    milestones: Milestones | None = None,
    should_stop: ShouldStop = lambda: False,
    earlier: TrainingState | None = None,
    keep: Keep = keep_nothing,
) -> Finding | Cut | None:
    """Train `student` in place and judge it after its full schedule.

    Args:
        student: a fresh candidate of this round.
        state: the round.
        recipe: the settings.
        attempt: tries before this one in the same student class; they decay γ.
        seed: of the order of the examples.
        min_edge: for `recipe.early_accept` only.
        compiled: whether torch.compile joins forward pass and loss (see :mod:`.step`).
        milestones: where it may be cut; None trains it to its end.
        should_stop: asked before each batch and each chunk of rows that is judged; true ends it.
        earlier: of a part of this very training: the rest goes as it would have gone, to the bit.
        keep: offered the state after each epoch but the last.

    Returns:
        The figures, how far it came if it was cut, or None if it was stopped.

    Raises:
        SearchError: if the loss or the logits become NaN or infinite.
        StateError: if `earlier` is of another training; the student is then as it was.
    """
    started = time.perf_counter()
    trainer = Trainer(student, state, recipe, attempt, seed, compiled)
    steps = {} if milestones is None else milestones.steps(recipe.epochs)
    losses: list[tuple[int, float]] = []
    epochs = 0
    if earlier is not None:
        with only_its_own():
            losses = [(at, loss) for at, loss in earlier.values["losses"]]
            trainer.restore(earlier)
        epochs, started = earlier.epochs, started - earlier.seconds
        if milestones is not None:
            milestones.recall(recipe.epochs, [losses])
    try:
        while epochs < recipe.epochs:
            if not trainer.run_epoch(epochs, should_stop):
                return None
            epochs += 1
            if accepted_early(student, state, recipe, min_edge, should_stop):
                break
            if milestones is not None and epochs in steps:
                losses.append((epochs, loss_now(student, state, recipe.remedy)))
                if milestones.cut(steps[epochs], {0: losses[-1][1]}):
                    return Cut.at(losses, state, time.perf_counter() - started)
            if epochs < recipe.epochs:
                keep(partial(trainer.state, epochs, time.perf_counter() - started, losses))
        seconds = time.perf_counter() - started
        found = judged(student, state, recipe, epochs, seconds, should_stop)
        return replace(found, milestones=tuple(losses))
    except Stopped:
        return None


def accepted_early(
    student: Student, state: Round, recipe: Recipe, min_edge: float, should_stop: ShouldStop
) -> bool:
    """Whether the edge holds already, if that is asked for; in round 1 it always would."""
    if not recipe.early_accept or state.train.stage == 1:
        return False
    return _edge_now(student, state, should_stop) >= min_edge


def _settle(student: Student, state: Round) -> None:
    """Make the student what is kept of it: in evaluation mode, with centred logits."""
    student.eval()
    if state.measure.task == "classification":
        student.centre_head()


def _edge_now(student: Student, state: Round, should_stop: ShouldStop) -> float:
    _settle(student, state)
    return state.train.judge(student, should_stop)[0].edge


def judged(
    student: Student,
    state: Round,
    recipe: Recipe,
    epochs: int,
    seconds: float,
    should_stop: ShouldStop,
) -> Finding:
    """The figures of a trained student, which from here on is as it will be kept.

    Raises:
        SearchError: if its logits are not finite.
        Stopped: as soon as `should_stop` answers true.
    """
    _settle(student, state)
    verdict, largest_gap = state.train.judge(student, should_stop)
    if not math.isfinite(largest_gap):
        raise SearchError(f"the student's logits are not finite; {recipe.remedy}.")
    after = state.validation.joined(student).ensemble
    loss = state.measure.loss(after, state.validation)
    metric = state.measure.accuracy(after, state.validation)
    return Finding(
        edges=tuple(verdict.edges.tolist()),
        edge=verdict.edge,
        relative_edge=verdict.relative,
        loss=loss,
        gain=state.gain(loss),
        metric=metric,
        metric_gain=metric - state.baseline_metric,
        metric_error=state.measure.standard_error(metric, len(after)),
        largest_gap=largest_gap,
        epochs=epochs,
        seconds=seconds,
    )
