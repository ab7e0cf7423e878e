"""Cohorts: candidates of one architecture that train together, stacked along a first dimension.

They may differ in γ, learning rate, weight decay, a correction's bound and initial weights; they
see the same batches. A step then costs little more than that of one small student, since its time
is mostly calls.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bdistil.core.endings import Ended, ended_from, ended_values
from bdistil.core.find_weak_learner import judged
from bdistil.core.milestones import Cut, Cutter, Milestones, loss_now
from bdistil.core.objective import Objective, correction_bound, term_weight
from bdistil.core.own_head import WithOwnHead
from bdistil.core.recipes import Recipe, recipe
from bdistil.core.round import Round
from bdistil.core.stacked import Stack, StackedAdamW, stacks
from bdistil.core.step import loss_of_step
from bdistil.core.student import Student
from bdistil.core.trainer import DEFAULT_LR, shuffled_batches
from bdistil.core.training_split import ShouldStop, Stopped
from bdistil.core.training_state import (
    Keep,
    StateError,
    TrainingState,
    check_alike,
    keep_nothing,
    on_cpu,
    only_its_own,
    random_states,
    set_random_states,
)
from bdistil.errors import SearchError


@dataclass(frozen=True)
class Member:
    """One candidate of a cohort.

    Attributes:
        student: fresh; of the same architecture as all others.
        recipe: the same as all others' but for gamma, lr, weight_decay and correction_bound.
        attempt: tries before this one in the same student class.
    """

    student: Student
    recipe: Recipe
    attempt: int = 0


def vectorises(student: Student, state: Round) -> bool:
    """Whether students of this architecture can train as a cohort in a round."""
    settings = recipe("accurate")
    objective = Objective(state, settings, student.config.skip, student.device)
    batch = objective.batch(state.train.shards[0], torch.arange(2))
    return stacks([student, student], batch.examples.inputs, batch.examples.earlier)


def find_weak_learners(
    members: Sequence[Member],
    state: Round,
    *,
    seed: int = 0,
    compiled: bool = False,
    milestones: Milestones | None = None,
    should_stop: ShouldStop = lambda: False,
    earlier: TrainingState | None = None,
    keep: Keep = keep_nothing,
) -> list[Ended] | None:
    """Train a cohort in place and judge each member after the full schedule.

    Args:
        members: the candidates; `early_accept` of their recipe is not supported.
        state: the round.
        seed: of the order of the examples, which all members share.
        compiled: whether torch.compile joins forward pass and loss (see :mod:`.step`).
        milestones: where members may be cut, by their places; the others train on without them.
        should_stop: asked before each batch and each chunk of rows that is judged; true ends it.
        earlier: of a part of this very training: the rest goes as it would have gone, to the bit.
        keep: offered the state after each epoch but the last.

    Returns:
        For each member its figures, how far it came if it was cut, or why it failed; None if the
        cohort was stopped. The figures are those of ``find_weak_learner`` with the same seed, up to
        rounding; `seconds` is a member's share.

    Raises:
        StateError: if `earlier` is of another training.
    """
    epochs = members[0].recipe.epochs
    steps = {} if milestones is None else milestones.steps(epochs)
    trainer = _CohortTrainer(members, state, seed, compiled)
    race = _Race(members, state)
    if earlier is not None:
        with only_its_own():
            race.restore(earlier)
            trainer.restore(earlier, [index in race.running for index in range(len(members))])
        if milestones is not None:
            milestones.recall(epochs, race.losses)
    for epoch in range(0 if earlier is None else earlier.epochs, epochs):
        if not trainer.run_epoch(epoch, should_stop):
            return None
        race.share_time()
        if milestones is not None and epoch + 1 in steps:
            trainer.unstack()
            kept = race.look(milestones.cut, steps[epoch + 1], epoch + 1)
            if not any(kept):
                return race.outcomes(epochs, should_stop)
            trainer.keep(kept)
        if epoch + 1 < epochs:
            keep(partial(_state_of, trainer, race, epoch + 1))
    trainer.unstack()
    try:
        return race.outcomes(epochs, should_stop)
    except Stopped:
        return None


def _state_of(trainer: _CohortTrainer, race: _Race, epochs: int) -> TrainingState:
    values = {"steps": trainer.optimiser.taken, **race.values()}
    return TrainingState(epochs, sum(race.seconds), on_cpu(trainer.tensors()), values)


class _Race:
    """Who is still in a cohort, and what became of the others."""

    def __init__(self, members: Sequence[Member], state: Round) -> None:
        self.members, self.state = members, state
        self.running = list(range(len(members)))
        self.ended: dict[int, Ended] = {}
        self.losses: list[list[tuple[int, float]]] = [[] for _ in members]
        self.seconds = [0.0] * len(members)
        self.looked = time.perf_counter()

    def values(self) -> dict[str, Any]:
        """All that is known of it, as JSON knows it."""
        ended = {str(index): ended_values(each) for index, each in self.ended.items()}
        return {"ended": ended, "losses": self.losses, "member_seconds": self.seconds}

    def restore(self, state: TrainingState) -> None:
        """Go on from :meth:`values`.

        Raises:
            StateError: if they are of another number of members.
        """
        losses, seconds = state.values["losses"], state.values["member_seconds"]
        if len(seconds) != len(self.members):
            raise StateError(f"it is of {len(seconds)} members, not {len(self.members)}")
        self.ended = {int(k): ended_from(each) for k, each in state.values["ended"].items()}
        self.running = [index for index in self.running if index not in self.ended]
        self.losses = [[(at, loss) for at, loss in each] for each in losses]
        self.seconds = [*seconds]

    def share_time(self) -> None:
        """Give each member that is still in its share of the time since the last call."""
        now = time.perf_counter()
        for index in self.running:
            self.seconds[index] += (now - self.looked) / len(self.running)
        self.looked = now

    def look(self, cut: Cutter, step: int, epochs: int) -> list[bool]:
        """Compare at a milestone; which of those that were still in go on."""
        before = self.running
        for index in before:
            member = self.members[index]
            try:
                loss = loss_now(member.student, self.state, member.recipe.remedy)
                self.losses[index].append((epochs, loss))
            except SearchError as error:
                self.ended[index] = error
        last = {index: self.losses[index][-1][1] for index in before if index not in self.ended}
        for index in cut(step, last) if last else ():
            self.ended[index] = Cut.at(self.losses[index], self.state, self.seconds[index])
        self.running = [index for index in before if index not in self.ended]
        return [index in self.running for index in before]

    def outcomes(self, epochs: int, should_stop: ShouldStop) -> list[Ended]:
        """What became of each member; those still in are judged now."""
        return [
            self.ended[index] if index in self.ended else self._judged(index, epochs, should_stop)
            for index in range(len(self.members))
        ]

    def _judged(self, index: int, epochs: int, should_stop: ShouldStop) -> Ended:
        student, recipe = self.members[index].student, self.members[index].recipe
        try:
            found = judged(student, self.state, recipe, epochs, self.seconds[index], should_stop)
        except SearchError as error:
            return error
        return dataclasses.replace(found, milestones=tuple(self.losses[index]))


class _CohortTrainer:
    """AdamW with a cosine schedule, as for one student, with settings of their own a member."""

    def __init__(
        self, members: Sequence[Member], state: Round, seed: int, compiled: bool = False
    ) -> None:
        shared = members[0].recipe
        device, skip = members[0].student.device, members[0].student.config.skip
        self.bounds = torch.tensor([correction_bound(m.recipe) for m in members], device=device)
        self.objective_with = partial(Objective, state, shared, skip, device)
        self.objective = self.objective_with(self.bounds)
        has_own_loss = self.objective.has_own_loss
        self.models: list[Student | WithOwnHead] = [
            WithOwnHead(member.student) if has_own_loss else member.student for member in members
        ]
        self.stack = Stack(self.models)
        self.loss = loss_of_step(compiled)
        self.shards = state.train.shards
        self.batch_size = shared.batch_for(len(state.train))
        self.shuffle = torch.Generator().manual_seed(seed)
        batches = sum(math.ceil(len(shard) / self.batch_size) for shard in self.shards)
        self.weights = torch.tensor(
            [term_weight(m.recipe, m.attempt) for m in members], device=device
        )
        self.optimiser = StackedAdamW(
            self.stack.flat,
            lr=torch.tensor([m.recipe.lr or DEFAULT_LR for m in members], device=device),
            weight_decay=torch.tensor([m.recipe.weight_decay for m in members], device=device),
            steps=shared.epochs * batches,
        )

    def run_epoch(self, epoch: int, should_stop: ShouldStop) -> bool:
        """One pass over the training split, counted from 0; False if it was told to stop."""
        rows = shuffled_batches(self.shards, self.batch_size, self.shuffle)
        for batch in self.objective.batches(rows, epoch):
            if should_stop():
                return False
            losses = self.loss(self.stack, self.objective, batch, self.weights)
            (gradient,) = torch.autograd.grad(losses.sum(), self.stack.flat)
            self.optimiser.step(gradient)
        return True

    def unstack(self) -> None:
        """Write the weights back into the members that still train."""
        self.stack.unstack(self.models)

    def tensors(self) -> dict[str, Tensor]:
        """All that the epochs to come hang on, of the members that still train."""
        buffers = {f"buffer.{index}": each for index, each in enumerate(self.stack.buffers)}
        return {
            "weights": self.stack.flat,
            **buffers,
            **self.optimiser.tensors(),
            **random_states(self.shuffle, self.weights.device),
        }

    def restore(self, state: TrainingState, kept: Sequence[bool]) -> None:
        """Take in the state of an earlier part of the same training, in which some were kept.

        Raises:
            StateError: if it is of another one.
        """
        self.keep(kept)
        check_alike(state.tensors, self.tensors())
        set_random_states(state.tensors, self.shuffle, self.weights.device)
        with torch.no_grad():
            for name, tensor in self.tensors().items():
                if not name.startswith("random."):
                    tensor.copy_(state.tensors[name])
        self.optimiser.taken = state.values["steps"]

    def keep(self, kept: Sequence[bool]) -> None:
        """Go on with some of the members; what they have learnt and their momenta stay theirs."""
        if all(kept):
            return
        rows = torch.tensor(kept, device=self.weights.device)
        self.stack.keep(rows)
        self.optimiser.keep(rows, self.stack.flat)
        self.models = list(itertools.compress(self.models, kept))
        self.weights, self.bounds = self.weights[rows], self.bounds[rows]
        self.objective = self.objective_with(self.bounds)
