"""FIND_WL: train one candidate student and check whether it is a weak learner.

B-DISTIL (arXiv 2302.10093): minimise a distillation loss plus 1/γ times a term that
pulls the edges up, then check the edges on the whole training split.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bdistil.core.examples import Examples, Measure
from bdistil.core.game import Game
from bdistil.core.losses import edge_hinge, fitting_loss, hinge_direction, log_barrier
from bdistil.core.recipes import Recipe
from bdistil.core.student import Student, advance, student_logits
from bdistil.errors import SearchError

ShouldStop = Callable[[], bool]


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
        largest_gap: G = max|f - g| on the training split, in logits.
        epochs: epochs trained.
        seconds: time spent on training.
    """

    edges: tuple[float, ...]
    edge: float
    relative_edge: float
    loss: float
    gain: float
    metric: float
    largest_gap: float
    epochs: int
    seconds: float

    def is_weak_learner(self, min_edge: float, min_gain: float) -> bool:
        """Whether the edges hold and the ensemble is better with it than without.

        The second condition matters in round 1, where every student's edge is zero.
        """
        return self.edge >= min_edge and self.gain > min_gain


@dataclass(frozen=True)
class Round:
    """All that the candidates of one round share.

    Attributes:
        train: the training split; the game is played on it.
        validation: the split that decides on gains.
        game: K+ and K- of the training split.
        measure: the loss of the comparison.
    """

    train: Examples
    validation: Examples
    game: Game
    measure: Measure


def find_weak_learner(
    student: Student,
    state: Round,
    recipe: Recipe,
    *,
    attempt: int = 0,
    seed: int = 0,
    min_edge: float = 0.0,
    should_stop: ShouldStop = lambda: False,
) -> Finding | None:
    """Train `student` in place and judge it after its full schedule.

    Args:
        student: a fresh candidate of this round.
        state: the round.
        recipe: the settings.
        attempt: tries before this one in the same student class; they decay γ.
        seed: of the order of the examples.
        min_edge: for `recipe.early_accept` only.
        should_stop: asked before each batch; true ends the training.

    Returns:
        The figures, or None if it was stopped.

    Raises:
        SearchError: if the loss or the logits become NaN or infinite.
    """
    started = time.perf_counter()
    trainer = _Trainer(student, state, recipe, attempt, seed)
    epochs = 0
    while epochs < recipe.epochs:
        if not trainer.run_epoch(should_stop):
            return None
        epochs += 1
        if recipe.early_accept and _edge_now(student, state) >= min_edge:
            break
    _settle(student, state)
    return _judge(student, state, epochs, time.perf_counter() - started)


class _Trainer:
    """Adam with a cosine schedule over shuffled minibatches."""

    def __init__(
        self, student: Student, state: Round, recipe: Recipe, attempt: int, seed: int
    ) -> None:
        self.student = student
        self.inputs = state.train.inputs
        self.objective = Objective(state, recipe, student.config.skip, attempt)
        self.batch_size = recipe.batch_for(len(self.inputs))
        self.shuffle = torch.Generator().manual_seed(seed)
        self.optimiser = torch.optim.Adam(student.parameters(), lr=recipe.lr or 1e-2, fused=True)
        steps = recipe.epochs * math.ceil(len(self.inputs) / self.batch_size)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimiser, steps)

    def run_epoch(self, should_stop: ShouldStop) -> bool:
        """One pass over the training split; False if it was told to stop."""
        self.student.train()
        order = torch.randperm(len(self.inputs), generator=self.shuffle)
        loss = torch.tensor(0.0)
        for rows in order.to(self.inputs.device).split(self.batch_size):
            if should_stop():
                return False
            self.optimiser.zero_grad()
            loss = self.objective(self.student, rows)
            loss.backward()
            self.optimiser.step()
            self.schedule.step()
        if not torch.isfinite(loss):
            raise SearchError(f"the training loss became {loss.item()}; lower space.lr.")
        return True


class Objective:
    """Fitting loss plus (1/γ) · weak-learning term of one candidate on a batch."""

    def __init__(self, state: Round, recipe: Recipe, skip: bool, attempt: int) -> None:
        self.train = state.train
        self.task = state.measure.task
        self.recipe = recipe
        self.skip = skip
        self.joint = state.game.normalisation == "joint"
        self.weight = 1 / (recipe.gamma * recipe.gamma_decay**attempt)
        self.bound = self.train.teacher.abs().max().item()
        self.scale = self.train.teacher.abs().mean().item()
        # Before round 1 all weights are equal: no entry is preferred, so there is no term.
        self.pull = state.game.pull() if self.train.earlier else None
        if self.pull is not None and recipe.penalty == "hinge":
            self.pull = hinge_direction(self.pull, joint=self.joint)

    def __call__(self, student: Student, rows: Tensor) -> Tensor:
        """The loss on some rows of the training split."""
        batch, stage = self.train.take(rows), self.train.stage
        logits, _ = student(batch.inputs, batch.earlier)
        own = student_logits(batch.ensemble, logits, stage, self.skip)
        on_student = self.recipe.target == "student"
        fitted = own if on_student else advance(batch.ensemble, logits, stage, self.skip)
        loss = fitting_loss(
            fitted,
            batch.teacher,
            batch.labels,
            task=self.task,
            label_share=self.recipe.label_share,
            temperature=self.recipe.temperature,
        )
        if self.pull is None:
            return loss
        return loss + self.weight * self.weak_learning_term(own, batch.teacher, self.pull[rows])

    def weak_learning_term(self, own: Tensor, teacher: Tensor, pull: Tensor) -> Tensor:
        """The recipe's penalty on the edges, for f_t and g of shape (B, L)."""
        gap = own - teacher
        if self.task == "classification":
            gap = gap - gap.mean(dim=1, keepdim=True)
        if self.recipe.penalty == "barrier":
            return log_barrier(gap, pull > 0, self.bound)
        return edge_hinge(gap, pull, self.scale, joint=self.joint)


def _settle(student: Student, state: Round) -> None:
    """Make the student what is kept of it: in evaluation mode, with centred logits."""
    student.eval()
    if state.measure.task == "classification":
        student.centre_head()


def _edge_now(student: Student, state: Round) -> float:
    _settle(student, state)
    return state.game.judge(state.train.gap(student)).edge


def _judge(student: Student, state: Round, epochs: int, seconds: float) -> Finding:
    gap = state.train.gap(student)
    if not torch.isfinite(gap).all():
        raise SearchError("the student's logits are not finite; lower space.lr.")
    verdict = state.game.judge(gap)
    after = state.validation.joined(student).ensemble
    loss = state.measure.loss(after, state.validation)
    before = state.measure.baseline(state.train, state.validation)
    return Finding(
        edges=tuple(verdict.edges.tolist()),
        edge=verdict.edge,
        relative_edge=verdict.relative,
        loss=loss,
        gain=(before - loss) / max(before, 1e-12),
        metric=state.measure.accuracy(after, state.validation),
        largest_gap=gap.abs().max().item(),
        epochs=epochs,
        seconds=seconds,
    )
