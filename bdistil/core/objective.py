"""What a candidate is trained on: batches of the round and the loss on them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bdistil.core.examples import Examples
from bdistil.core.losses import edge_hinge, fitting_loss, log_barrier
from bdistil.core.placement import Device, copied
from bdistil.core.recipes import Recipe
from bdistil.core.round import Round
from bdistil.core.student import advance, student_logits
from bdistil.core.training_split import Shard


@dataclass(frozen=True)
class Batch:
    """Some rows with what the weak-learning term needs of them.

    Attributes:
        examples: the rows.
        preference: where the ensemble should rise: bool [M < 0] for the barrier, the scaled
            direction for the hinge, float (B, L); None before round 1, when all weights are equal
            and no entry is preferred.
    """

    examples: Examples
    preference: Tensor | None


class Objective:
    """Fitting loss plus weight · weak-learning term; the weight is 1/γ.

    Args:
        state: the round.
        recipe: the settings; its γ is not used here.
        skip: whether candidates add their logits to the ensemble's.
        device: of the candidates; batches of data that lie elsewhere are copied there.
    """

    def __init__(self, state: Round, recipe: Recipe, skip: bool, device: Device = "cpu") -> None:
        self.task = state.measure.task
        self.rules = state.train.rules
        self.recipe = recipe
        self.skip = skip
        self.device = torch.device(device)

    def batch(self, shard: Shard, rows: Tensor) -> Batch:
        """Some rows of a shard, on the candidates' device."""
        examples, preference = shard.take(rows), self.preference(shard, rows)
        if shard.device.type == self.device.type:
            return Batch(examples, preference)
        moved = None if preference is None else copied(preference, self.device)
        return Batch(examples.to(self.device), moved)

    def preference(self, shard: Shard, rows: Tensor) -> Tensor | None:
        """Where the ensemble should rise (see :class:`Batch`)."""
        if shard.stage == 1:
            return None
        if self.recipe.penalty == "barrier":
            return shard.game.margin[rows] < 0
        return shard.game.direction(rows)

    def loss(self, logits: Tensor, batch: Batch, weight: float | Tensor) -> Tensor:
        """The loss, float (...), for logits a_t, float (..., B, L), on a batch.

        Leading dimensions are candidates of their own, with a weight each.
        """
        examples = batch.examples
        loss = fitting_loss(
            self.fitted(logits, examples),
            examples.teacher,
            examples.labels,
            task=self.task,
            label_share=self.recipe.label_share,
            temperature=self.recipe.temperature,
        )
        if batch.preference is None:
            return loss
        own = student_logits(examples.ensemble, logits, examples.stage, self.skip)
        return loss + weight * self.weak_learning_term(own - examples.teacher, batch.preference)

    def fitted(self, logits: Tensor, examples: Examples) -> Tensor:
        """What the fitting loss sees: f_t or F_t, float (..., B, L)."""
        combine = student_logits if self.recipe.target == "student" else advance
        return combine(examples.ensemble, logits, examples.stage, self.skip)

    def weak_learning_term(self, gap: Tensor, preference: Tensor) -> Tensor:
        """The recipe's penalty on the edges, for f_t - g of shape (..., B, L)."""
        if self.task == "classification":
            gap = gap - gap.mean(dim=-1, keepdim=True)
        if self.recipe.penalty == "barrier":
            return log_barrier(gap, preference, self.rules.bound)
        return edge_hinge(gap, preference, self.rules.scale, joint=self.rules.joint)


def term_weight(recipe: Recipe, attempt: int) -> float:
    """1/γ, with γ decayed by the tries made before in the same student class."""
    return 1 / (recipe.gamma * recipe.gamma_decay**attempt)
