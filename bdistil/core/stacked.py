"""Candidates of one architecture as rows of one matrix: their weights, and AdamW for them."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap
from torch.optim.adamw import adamw

from bdistil.core.batched import NotBatchableError, batched_or_none
from bdistil.core.connections import Hidden
from bdistil.core.own_head import WithOwnHead
from bdistil.core.student import Student
from bdistil.errors import FOREIGN


class Stack:
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
        self.batched = batched_or_none(self.architecture, self.names)

    def weights(self) -> list[Tensor]:
        """Views of the weights, (K, ...) each, in the order of the names."""
        parts = zip(self.flat.split(self.sizes, dim=1), self.shapes, strict=True)
        return [part.view(shape) for part, shape in parts]

    def __call__(self, x: Tensor, earlier: Sequence[Hidden]) -> tuple[Tensor, Tensor | None]:
        """Logits of every member, float (K, B, L), and of second heads; no hidden states."""
        if self.batched is not None:
            named = dict(zip(self.names, [*self.weights(), *self.buffers], strict=True))
            try:
                return self.batched(named, x, earlier)
            except NotBatchableError:
                self.batched = None
        return self._through_vmap(x, earlier)

    def _through_vmap(self, x: Tensor, earlier: Sequence[Hidden]) -> tuple[Tensor, Tensor | None]:
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


def stacks(
    students: Sequence[Student | WithOwnHead], x: Tensor, earlier: Sequence[Hidden] = ()
) -> bool:
    """Whether torch can run and train students as one, tried on inputs (B, ...).

    It has no batching rule for some layers, recurrent ones among them, and users' own may do what
    they like; what they raise alone, training tells. Weights that shall stay as they are would be
    trained with the others of their row.
    """
    if not all(weight.requires_grad for weight in students[0].parameters()):
        return False
    try:
        Stack(students)(x, earlier)[0].sum().backward()
    except FOREIGN:
        return False
    return True


def _keep_freed_memory() -> None:
    """Let the C library reuse what a step frees, instead of giving it back after each step.

    glibc keeps up to twice the largest block that was ever mapped on its own and freed. A stack's
    activations would otherwise be paid for in page faults, a fifth of the time.
    """
    torch.empty(8_000_000)  # just below the 32 MiB from which on glibc no longer adapts


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
        self.taken = 0

    @torch.no_grad()
    def step(self, gradient: Tensor) -> None:
        """One update by a gradient (K, P)."""
        lr = self.lr * (0.5 * (1 + math.cos(math.pi * self.taken / self.steps)))
        self.taken += 1
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

    def tensors(self) -> dict[str, Tensor]:
        """What it has learnt about the gradients, by name."""
        return {"mean": self.mean, "square": self.square, "done": self.done}

    def keep(self, rows: Tensor, weights: Tensor) -> None:
        """Go on with some of the members, bool (K,); `weights` are theirs."""
        self.weights, self.lr = weights, self.lr[rows]
        if self.weight_decay is not None:
            self.weight_decay = self.weight_decay[rows]
        self.change, self.mean, self.square = (
            each[rows] for each in (self.change, self.mean, self.square)
        )
