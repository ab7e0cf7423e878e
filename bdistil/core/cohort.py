"""Cohorts: candidates of one architecture that train together, stacked along a first dimension.

They may differ in γ, learning rate, weight decay and initial weights; they see the same batches.
A step then costs little more than that of one small student, since its time is mostly calls.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from bdistil.core.find_weak_learner import (
    DEFAULT_LR,
    Batch,
    Finding,
    Objective,
    Round,
    judged,
    shuffled_batches,
    term_weight,
)
from bdistil.core.recipes import Recipe, recipe
from bdistil.core.student import Student
from bdistil.core.training_split import ShouldStop, Stopped
from bdistil.errors import SearchError


@dataclass(frozen=True)
class Member:
    """One candidate of a cohort.

    Attributes:
        student: fresh; of the same architecture as all others.
        recipe: the same as all others' but for gamma, lr and weight_decay.
        attempt: tries before this one in the same student class.
    """

    student: Student
    recipe: Recipe
    attempt: int = 0


def vectorises(student: Student, state: Round) -> bool:
    """Whether students of this architecture can train as a cohort.

    torch has no batching rule for some layers, recurrent ones among them.
    """
    shard = state.train.shards[0]
    batch = Objective(state, recipe("accurate"), student.config.skip).batch(shard, torch.arange(2))
    stack = _Stack([student, student])
    try:
        stack.logits(stack.leaves(), batch).sum().backward()
    except (RuntimeError, NotImplementedError):
        return False
    return True


def find_weak_learners(
    members: Sequence[Member],
    state: Round,
    *,
    seed: int = 0,
    should_stop: ShouldStop = lambda: False,
) -> list[Finding | SearchError] | None:
    """Train a cohort in place and judge each member after the full schedule.

    Args:
        members: the candidates; `early_accept` of their recipe is not supported.
        state: the round.
        seed: of the order of the examples, which all members share.
        should_stop: asked before each batch and each chunk of rows that is judged; true ends it.

    Returns:
        For each member its figures, or why it failed; None if the cohort was stopped. The figures
        are those of ``find_weak_learner`` with the same seed, up to rounding; `seconds` is a
        member's share.
    """
    started = time.perf_counter()
    epochs = members[0].recipe.epochs
    trainer = _CohortTrainer(members, state, seed)
    for _ in range(epochs):
        if not trainer.run_epoch(should_stop):
            return None
    trainer.stack.unstack([member.student for member in members])
    share = (time.perf_counter() - started) / len(members)
    try:
        return [_outcome(member, state, epochs, share, should_stop) for member in members]
    except Stopped:
        return None


def _outcome(
    member: Member, state: Round, epochs: int, seconds: float, should_stop: ShouldStop
) -> Finding | SearchError:
    try:
        return judged(member.student, state, epochs, seconds, should_stop)
    except SearchError as error:
        return error


class _Stack:
    """The members' weights, a row of one matrix for each member."""

    def __init__(self, students: Sequence[Student]) -> None:
        weights, self.buffers = stack_module_state(list(students))
        self.shapes = {name: weight.shape for name, weight in weights.items()}
        self.sizes = [weight[0].numel() for weight in weights.values()]
        self.flat = torch.cat([weight.detach().flatten(1) for weight in weights.values()], dim=1)
        self.architecture = copy.deepcopy(students[0]).to("meta")

    def weights(self) -> dict[str, Tensor]:
        """The weights by name, (K, ...) each, as views."""
        parts = zip(self.shapes.items(), self.flat.split(self.sizes, dim=1), strict=True)
        return {name: part.view(shape) for (name, shape), part in parts}

    def leaves(self) -> dict[str, Tensor]:
        """As :meth:`weights`, to be differentiated by."""
        return {name: weight.requires_grad_() for name, weight in self.weights().items()}

    def logits(self, weights: dict[str, Tensor], batch: Batch) -> Tensor:
        """Logits of every member, float (K, B, L)."""

        def one(weights: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
            arguments = (batch.examples.inputs, batch.examples.earlier)
            logits: Tensor = functional_call(self.architecture, (weights, buffers), arguments)[0]
            return logits

        stacked: Tensor = vmap(one)(weights, self.buffers)
        return stacked

    @torch.no_grad()
    def unstack(self, students: Sequence[Student]) -> None:
        """Write the weights back into the members."""
        stacked = self.weights()
        for index, student in enumerate(students):
            for name, weight in student.named_parameters():
                weight.copy_(stacked[name][index])


class _CohortTrainer:
    """AdamW with a cosine schedule, as for one student, with settings of their own a member."""

    def __init__(self, members: Sequence[Member], state: Round, seed: int) -> None:
        shared = members[0].recipe
        self.stack = _Stack([member.student for member in members])
        self.objective = Objective(state, shared, members[0].student.config.skip)
        self.shards = state.train.shards
        self.batch_size = shared.batch_for(len(state.train))
        self.shuffle = torch.Generator().manual_seed(seed)
        batches = sum(math.ceil(len(shard) / self.batch_size) for shard in self.shards)
        device = self.stack.flat.device
        self.weights = torch.tensor(
            [term_weight(m.recipe, m.attempt) for m in members], device=device
        )
        self.optimiser = StackedAdamW(
            self.stack.flat,
            lr=torch.tensor([m.recipe.lr or DEFAULT_LR for m in members], device=device),
            weight_decay=torch.tensor([m.recipe.weight_decay for m in members], device=device),
            steps=shared.epochs * batches,
        )

    def run_epoch(self, should_stop: ShouldStop) -> bool:
        """One pass over the training split; False if it was told to stop."""
        for shard, rows in shuffled_batches(self.shards, self.batch_size, self.shuffle):
            if should_stop():
                return False
            batch = self.objective.batch(shard, rows)
            leaves = self.stack.leaves()
            losses = self.objective.loss(self.stack.logits(leaves, batch), batch, self.weights)
            gradients = torch.autograd.grad(losses.sum(), list(leaves.values()))
            self.optimiser.step(torch.cat([g.flatten(1) for g in gradients], dim=1))
        return True


class StackedAdamW:
    """AdamW under a cosine schedule, with a learning rate and weight decay for each member.

    torch's optimisers know one learning rate a parameter group; members here share a tensor.

    Args:
        weights: float (K, P), a row a member; updated in place.
        lr: peak learning rates, (K,).
        weight_decay: decoupled, (K,).
        steps: of the whole schedule.
    """

    def __init__(self, weights: Tensor, *, lr: Tensor, weight_decay: Tensor, steps: int) -> None:
        self.weights = weights
        self.lr, self.weight_decay, self.steps = lr[:, None], weight_decay[:, None], steps
        self.mean, self.square = torch.zeros_like(weights), torch.zeros_like(weights)
        self.done = 0

    @torch.no_grad()
    def step(self, gradient: Tensor, betas: tuple[float, float] = (0.9, 0.999)) -> None:
        """One update by a gradient (K, P)."""
        lr = self.lr * ((1 + math.cos(math.pi * self.done / self.steps)) / 2)
        self.done += 1
        first, second = (1 - beta**self.done for beta in betas)
        self.mean.lerp_(gradient, 1 - betas[0])
        self.square.mul_(betas[1]).addcmul_(gradient, gradient, value=1 - betas[1])
        scale = self.square.sqrt().div_(math.sqrt(second)).add_(1e-8)
        self.weights.mul_(1 - lr * self.weight_decay)
        self.weights.sub_((self.mean / scale).mul_(lr / first))
