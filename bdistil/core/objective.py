"""What a candidate is trained on: batches of the round and the loss on them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bdistil.core.correction import BOUNDS, FLOOR, TABULAR_FLOOR, CorrectedLoss
from bdistil.core.examples import Examples
from bdistil.core.losses import edge_hinge, fitting_loss, log_barrier
from bdistil.core.placement import Device, copied
from bdistil.core.recipes import Recipe
from bdistil.core.round import Round
from bdistil.core.student import advance, student_logits
from bdistil.core.training_split import Shard

MOST_KEPT = 2**20
"""Entries of a margin whose directions are kept while a candidate trains.

A tenth of a small student's time would go into computing them anew for each batch.
"""


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
        bounds: c of the correction for each of K candidates, float (K,); None takes the recipe's.
    """

    def __init__(
        self,
        state: Round,
        recipe: Recipe,
        skip: bool,
        device: Device = "cpu",
        bounds: Tensor | None = None,
    ) -> None:
        self.task = state.measure.task
        self.rules = state.train.rules
        self.stage = state.train.stage
        self.recipe = recipe
        self.skip = skip
        self.device = torch.device(device)
        tabular = state.validation.inputs.dim() == 2
        self.corrected = corrected_loss(recipe, TABULAR_FLOOR if tabular else FLOOR, bounds)
        self.directions: dict[int, Tensor] = {}  # of whole small shards, by identity

    def batch(self, shard: Shard, rows: Tensor, epoch: int = 0) -> Batch:
        """What candidates see of some rows of a shard in an epoch, on their device."""
        examples = shard.shown(rows, epoch) if self.recipe.views else shard.take(rows)
        preference = self.preference(shard, rows)
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
        if shard.game.margin.numel() > MOST_KEPT:
            return shard.game.direction(rows)
        if id(shard) not in self.directions:
            self.directions[id(shard)] = shard.game.direction()
        return self.directions[id(shard)][rows]

    @property
    def has_own_loss(self) -> bool:
        """Whether candidates train with a second head; in round 1 it would see what theirs does."""
        return self.recipe.own_loss > 0 and self.stage > 1

    def loss(
        self, logits: Tensor, batch: Batch, weight: float | Tensor, own_logits: Tensor | None = None
    ) -> Tensor:
        """The loss, float (...), for logits a_t, float (..., B, L), on a batch.

        Leading dimensions are candidates of their own, with a weight each. `own_logits`, shaped
        alike, are those of the second head, if there is one (see :mod:`.own_head`).
        """
        examples = batch.examples
        loss = self.fitting_loss(self.fitted(logits, examples), examples)
        if own_logits is not None:
            loss = loss + self.recipe.own_loss * self.fitting_loss(own_logits, examples)
        if batch.preference is None:
            return loss
        own = student_logits(examples.ensemble, logits, examples.stage, self.skip)
        return loss + weight * self.weak_learning_term(
            own - examples.teacher_logits, batch.preference
        )

    def fitting_loss(self, logits: Tensor, examples: Examples) -> Tensor:
        """The fitting loss, float (...), for what it sees of a batch, float (..., B, L).

        Only here do corrected targets come in: margins, edges and the weak-learning term are those
        of the teacher's own logits.
        """
        teacher_logits, labels, recipe = examples.teacher_logits, examples.labels, self.recipe
        weights = examples.weights
        if self.corrected is None:
            share, temperature = recipe.label_share, recipe.temperature
            return fitting_loss(
                logits,
                teacher_logits,
                labels,
                task=self.task,
                label_share=share,
                temperature=temperature,
                weights=weights,
            )
        assert labels is not None, "space.correction and space.distillation need labels"
        loss = self.corrected(logits, teacher_logits, labels, weights)
        if recipe.label_share == 0:
            return loss
        fit = fitting_loss(
            logits, teacher_logits, labels, task=self.task, label_share=1.0, weights=weights
        )
        return (1 - recipe.label_share) * loss + recipe.label_share * fit

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


def corrected_loss(
    recipe: Recipe, floor: float, bounds: Tensor | None = None
) -> CorrectedLoss | None:
    """The recipe's distillation loss, unless it is the plain one.

    Args:
        recipe: the settings.
        floor: p̂ is clipped there.
        bounds: c of each candidate, float (K,); None takes the recipe's.
    """
    if recipe.distillation == "kl" and recipe.correction == "none":
        return None
    c = correction_bound(recipe) if bounds is None else bounds
    return CorrectedLoss(recipe.distillation, recipe.correction, c, recipe.temperature, floor)


def correction_bound(recipe: Recipe) -> float:
    """c: the recipe's, or what the correction has of its own."""
    own = recipe.correction_bound
    return BOUNDS.get(recipe.correction, 0.0) if own is None else own


def term_weight(recipe: Recipe, attempt: int) -> float:
    """1/γ, with γ decayed by the tries made before in the same student class."""
    return 1 / (recipe.gamma * recipe.gamma_decay**attempt)
