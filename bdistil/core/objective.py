"""What a candidate is trained on: batches of the round and the loss on them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from bdistil.core.correction import BOUNDS, FLOOR, TABULAR_FLOOR, CorrectedLoss
from bdistil.core.examples import Examples
from bdistil.core.losses import (
    SoftLabels,
    edge_hinge,
    fitting_loss,
    is_mixture,
    log_barrier,
    mixed_loss,
    soft_labels,
)
from bdistil.core.placement import Device, copied
from bdistil.core.recipes import Recipe
from bdistil.core.round import Round
from bdistil.core.student import advance, student_logits
from bdistil.core.training_split import Shard

GATHERED = 2**22
"""Numbers that are gathered at once for the batches to come.

A fifth of a small student's time would go into gathering for each batch on its own.
"""


ShardRows = tuple[Shard, Tensor]


@dataclass(frozen=True)
class Batch:
    """Some rows with what the weak-learning term needs of them.

    Attributes:
        examples: the rows.
        preference: where the ensemble should rise: bool [M < 0] for the barrier, the scaled
            direction for the hinge, float (B, L); None before round 1, when all weights are equal
            and no entry is preferred.
        soft: what one softmax of the logits is fitted to; None where the loss is no such mixture.
    """

    examples: Examples
    preference: Tensor | None
    soft: SoftLabels | None = None

    def take(self, rows: slice) -> Batch:
        """Some of the rows, without a copy."""
        return Batch(
            self.examples.take(rows),
            None if self.preference is None else self.preference[rows],
            None if self.soft is None else self.soft.take(rows),
        )


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

    def batches(self, rows: Iterable[ShardRows], epoch: int) -> Iterator[Batch]:
        """What candidates see of batches of rows in an epoch, on their device, in order."""
        for _, own in itertools.groupby(rows, key=lambda pair: id(pair[0])):
            for shard, first in own:
                several = max(1, GATHERED // (len(first) * shard.numbers_of_a_row)) - 1
                parts = [first, *(each for _, each in itertools.islice(own, several))]
                whole, start = self.batch(shard, torch.cat(parts), epoch), 0
                for part in parts:
                    yield whole.take(slice(start, start + len(part)))
                    start += len(part)

    def batch(self, shard: Shard, rows: Tensor, epoch: int = 0) -> Batch:
        """What candidates see of some rows of a shard in an epoch, on their device."""
        examples = shard.shown(rows, epoch) if self.recipe.views else shard.take(rows)
        preference = self.preference(shard, rows)
        if shard.device.type != self.device.type:
            examples = examples.to(self.device)
            preference = None if preference is None else copied(preference, self.device)
        return Batch(examples, preference, self.soft_labels(examples))

    def preference(self, shard: Shard, rows: Tensor) -> Tensor | None:
        """Where the ensemble should rise (see :class:`Batch`)."""
        if shard.stage == 1:
            return None
        if self.recipe.penalty == "barrier":
            return shard.game.margin[rows] < 0
        direction = shard.game.direction(rows)
        return centred(direction) if self.centres_direction else direction

    def soft_labels(self, examples: Examples) -> SoftLabels | None:
        """What logits are fitted to, if the fitting loss is a mixture of one softmax."""
        labels, recipe = examples.labels, self.recipe
        share = 0.0 if labels is None else recipe.label_share
        if self.corrected is not None or not is_mixture(self.task, share, recipe.temperature):
            return None
        return soft_labels(examples.teacher_logits, labels, share, recipe.temperature)

    @property
    def centres_direction(self) -> bool:
        """Whether the direction is centred, once, instead of each gap: the joint edge is alike."""
        is_linear = self.recipe.penalty == "hinge" and self.rules.joint
        return self.task == "classification" and is_linear

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
        loss = self.fitting_loss(self.fitted(logits, examples), batch)
        if own_logits is not None:
            loss = loss + self.recipe.own_loss * self.fitting_loss(own_logits, batch)
        if batch.preference is None:
            return loss
        own = student_logits(examples.ensemble, logits, examples.stage, self.skip)
        return loss + weight * self.weak_learning_term(
            own - examples.teacher_logits, batch.preference
        )

    def fitting_loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """The fitting loss, float (...), for what it sees of a batch, float (..., B, L).

        Only here do corrected targets come in: margins, edges and the weak-learning term are those
        of the teacher's own logits.
        """
        examples, recipe = batch.examples, self.recipe
        teacher_logits, labels, weights = examples.teacher_logits, examples.labels, examples.weights
        if batch.soft is not None:
            return mixed_loss(logits, batch.soft, recipe.temperature, weights)
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
        if self.task == "classification" and not self.centres_direction:
            gap = centred(gap)
        if self.recipe.penalty == "barrier":
            return log_barrier(gap, preference, self.rules.bound)
        return edge_hinge(gap, preference, self.rules.scale, joint=self.rules.joint)


def centred(values: Tensor) -> Tensor:
    """Less their mean over the labels, (..., L)."""
    return values - values.mean(dim=-1, keepdim=True)


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
