"""Cohorts: candidates of one architecture that train together, stacked along a first dimension.

They may differ in γ, learning rate, weight decay, a correction's bound and initial weights; they
see the same batches. A step then costs little more than that of one small student, since its time
is mostly calls.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap
from torch.optim.adamw import adamw

from bdistil.core.connections import Hidden
from bdistil.core.find_weak_learner import (
    DEFAULT_LR,
    Finding,
    judged,
    shuffled_batches,
)
from bdistil.core.milestones import Cut, Cutter, Milestones, loss_now
from bdistil.core.objective import Objective, correction_bound, term_weight
from bdistil.core.own_head import WithOwnHead
from bdistil.core.recipes import Recipe, recipe
from bdistil.core.round import Round
from bdistil.core.step import loss_of_step
from bdistil.core.student import Student
from bdistil.core.training_split import ShouldStop, Stopped
from bdistil.errors import SearchError

Ended = Finding | Cut | SearchError
"""What became of a member that was not stopped."""


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
    """Whether students of this architecture can train as a cohort.

    torch has no batching rule for some layers, recurrent ones among them.
    """
    settings = recipe("accurate")
    objective = Objective(state, settings, student.config.skip, student.device)
    batch = objective.batch(state.train.shards[0], torch.arange(2))
    stack = _Stack([student, student])
    try:
        stack(batch.examples.inputs, batch.examples.earlier)[0].sum().backward()
    except (RuntimeError, NotImplementedError):
        return False
    return True


def find_weak_learners(
    members: Sequence[Member],
    state: Round,
    *,
    seed: int = 0,
    compiled: bool = False,
    milestones: Milestones | None = None,
    should_stop: ShouldStop = lambda: False,
) -> list[Ended] | None:
    """Train a cohort in place and judge each member after the full schedule.

    Args:
        members: the candidates; `early_accept` of their recipe is not supported.
        state: the round.
        seed: of the order of the examples, which all members share.
        compiled: whether torch.compile joins forward pass and loss (see :mod:`.step`).
        milestones: where members may be cut, by their places; the others train on without them.
        should_stop: asked before each batch and each chunk of rows that is judged; true ends it.

    Returns:
        For each member its figures, how far it came if it was cut, or why it failed; None if the
        cohort was stopped. The figures are those of ``find_weak_learner`` with the same seed, up to
        rounding; `seconds` is a member's share.
    """
    epochs = members[0].recipe.epochs
    steps = {} if milestones is None else milestones.steps(epochs)
    trainer = _CohortTrainer(members, state, seed, compiled)
    race = _Race(members, state)
    for epoch in range(epochs):
        if not trainer.run_epoch(epoch, should_stop):
            return None
        race.share_time()
        if milestones is not None and epoch + 1 in steps:
            trainer.unstack()
            kept = race.look(milestones.cut, steps[epoch + 1], epoch + 1)
            if not any(kept):
                return race.outcomes(epochs, should_stop)
            trainer.keep(kept)
    trainer.unstack()
    try:
        return race.outcomes(epochs, should_stop)
    except Stopped:
        return None


class _Race:
    """Who is still in a cohort, and what became of the others."""

    def __init__(self, members: Sequence[Member], state: Round) -> None:
        self.members, self.state = members, state
        self.running = list(range(len(members)))
        self.ended: dict[int, Ended] = {}
        self.losses: list[list[tuple[int, float]]] = [[] for _ in members]
        self.seconds = [0.0] * len(members)
        self.looked = time.perf_counter()

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


class _Stack:
    """The members' weights, a row of one matrix for each member; called as one student is."""

    def __init__(self, students: Sequence[Student | WithOwnHead]) -> None:
        _keep_freed_memory()
        weights, buffers = stack_module_state(list(students))
        self.shapes = [weight.shape for weight in weights.values()]
        self.sizes = [weight[0].numel() for weight in weights.values()]
        self.names, self.buffers = (*weights, *buffers), tuple(buffers.values())
        flat = torch.cat([weight.detach().flatten(1) for weight in weights.values()], dim=1)
        self.flat = flat.requires_grad_()
        self.architecture = copy.deepcopy(students[0]).to("meta")

    def weights(self) -> list[Tensor]:
        """Views of the weights, (K, ...) each, in the order of the names."""
        parts = zip(self.flat.split(self.sizes, dim=1), self.shapes, strict=True)
        return [part.view(shape) for part, shape in parts]

    def __call__(self, x: Tensor, earlier: Sequence[Hidden]) -> tuple[Tensor, Tensor | None]:
        """Logits of every member, float (K, B, L), and of second heads; no hidden states."""
        has_second = isinstance(self.architecture, WithOwnHead)

        def one(*state: Tensor) -> tuple[Tensor, ...]:
            named = dict(zip(self.names, state, strict=True))
            answers = functional_call(self.architecture, named, (x, earlier), tie_weights=False)
            return tuple(answers) if has_second else answers[:1]

        stacked: tuple[Tensor, ...] = vmap(one)(*self.weights(), *self.buffers)
        return stacked[0], stacked[1] if has_second else None

    @torch.no_grad()
    def unstack(self, students: Sequence[Student | WithOwnHead]) -> None:
        """Write the weights and buffers back into the members."""
        state = [*self.weights(), *self.buffers]
        for index, student in enumerate(students):
            own = itertools.chain(student.parameters(), student.buffers())
            for tensor, stacked in zip(own, state, strict=True):
                tensor.copy_(stacked[index])

    @torch.no_grad()
    def keep(self, rows: Tensor) -> None:
        """Go on with some of the members, given as bool (K,)."""
        self.flat = self.flat.detach()[rows].requires_grad_()
        self.shapes = [torch.Size([len(self.flat), *shape[1:]]) for shape in self.shapes]
        self.buffers = tuple(buffer[rows] for buffer in self.buffers)


def _keep_freed_memory() -> None:
    """Let the C library reuse what a step frees, instead of giving it back after each step.

    glibc keeps up to twice the largest block that was ever mapped on its own and freed. A stack's
    activations would otherwise be paid for in page faults, a fifth of the time.
    """
    torch.empty(8_000_000)  # just below the 32 MiB from which on glibc no longer adapts


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
        self.stack = _Stack(self.models)
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
        for shard, rows in shuffled_batches(self.shards, self.batch_size, self.shuffle):
            if should_stop():
                return False
            batch = self.objective.batch(shard, rows, epoch)
            losses = self.loss(self.stack, self.objective, batch, self.weights)
            (gradient,) = torch.autograd.grad(losses.sum(), self.stack.flat)
            self.optimiser.step(gradient)
        return True

    def unstack(self) -> None:
        """Write the weights back into the members that still train."""
        self.stack.unstack(self.models)

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


class StackedAdamW:
    """AdamW under a cosine schedule, with a learning rate and weight decay for each member.

    torch knows one learning rate a tensor, and members share one. So its kernel is asked for the
    change at learning rate 1, which is then scaled.

    Args:
        weights: float (K, P), a row a member; updated in place.
        lr: peak learning rates, (K,).
        weight_decay: decoupled, (K,).
        steps: of the whole schedule.
    """

    def __init__(self, weights: Tensor, *, lr: Tensor, weight_decay: Tensor, steps: int) -> None:
        self.weights = weights
        self.lr, self.steps = lr[:, None], steps
        self.weight_decay = weight_decay[:, None] if weight_decay.any() else None
        self.change, self.mean, self.square = (torch.zeros_like(weights) for _ in range(3))
        self.done = torch.zeros((), device=weights.device)
        self.factors = (0.5 * (1 + math.cos(math.pi * step / steps)) for step in range(steps))

    @torch.no_grad()
    def step(self, gradient: Tensor) -> None:
        """One update by a gradient (K, P)."""
        lr = self.lr * next(self.factors)
        if self.weight_decay is not None:
            self.weights.mul_(1 - lr * self.weight_decay)
        adamw(
            [self.change.zero_()],
            [gradient],
            exp_avgs=[self.mean],
            exp_avg_sqs=[self.square],
            max_exp_avg_sqs=[],
            state_steps=[self.done],
            fused=True,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=1.0,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )
        self.weights.addcmul_(self.change, lr)

    def keep(self, rows: Tensor, weights: Tensor) -> None:
        """Go on with some of the members, bool (K,); `weights` are theirs."""
        self.weights, self.lr = weights, self.lr[rows]
        if self.weight_decay is not None:
            self.weight_decay = self.weight_decay[rows]
        self.change, self.mean, self.square = (
            each[rows] for each in (self.change, self.mean, self.square)
        )
