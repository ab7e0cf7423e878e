"""Recipes: named settings of FIND_WL that were found to work together.

``accurate`` (the default) aims at test accuracy along the anytime curve, ``faithful`` at staying
close to the teacher's logits, ``paper`` is the published algorithm as written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bdistil.errors import SpecError

if TYPE_CHECKING:  # settings need no torch
    from bdistil.core.connections import ConnectionName
    from bdistil.core.correction import Correction, Distillation
    from bdistil.core.game import Normalisation

Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class Recipe:
    """Settings of FIND_WL for one candidate.

    Attributes:
        normalisation: of K+ and K-; the first recipe of a search decides for the whole run.
        target: which logits the fitting loss sees: the student's f_t or the ensemble's F_t.
        label_share: weight of the labels in the fitting loss; the rest is distillation.
        temperature: τ of the distillation loss.
        penalty: the weak-learning term.
        gamma: the term is weighted by 1/γ.
        gamma_decay: factor on γ for each further try in the same student class.
        lr: Adam's peak learning rate; None takes the student class's own.
        weight_decay: decoupled, of AdamW.
        epochs: passes over the training split, with a cosine schedule.
        batch_size: None for min(128, max(16, N/4)).
        connection: how a student uses the ones before it.
        skip: f_t = F_{t-1} + t·a_t instead of f_t = a_t.
        precision: of the student's products while it trains; ``bf16`` is autocast's.
        growth: cumulative cost of stage t+1 over stage t; 0 for equal widths, None for the
            student class's own.
        distillation: the distillation loss (see :mod:`.correction`, as the next two).
        correction: of its targets, by the labels.
        correction_bound: c of the correction; None takes the correction's own.
        early_accept: accept at the first epoch whose edges hold (the paper, literally) instead of
            after the full schedule. Faster and much less accurate. Round 1, where every edge is
            zero, has its full schedule all the same.
    """

    normalisation: Normalisation
    target: Literal["student", "ensemble"]
    label_share: float
    temperature: float
    penalty: Literal["barrier", "hinge"]
    gamma: float
    gamma_decay: float
    epochs: int
    connection: ConnectionName
    skip: bool
    lr: float | None = None
    weight_decay: float = 0.0
    batch_size: int | None = None
    precision: Precision = "fp32"
    growth: float | None = 0.0
    distillation: Distillation = "kl"
    correction: Correction = "none"
    correction_bound: float | None = None
    early_accept: bool = False

    def batch_for(self, examples: int) -> int:
        """Batch size for a training split of `examples`."""
        return self.batch_size or min(128, max(16, examples // 4))


RECIPES: dict[str, Recipe] = {
    "accurate": Recipe(
        normalisation="joint",
        target="ensemble",
        label_share=0.6,
        temperature=1.0,
        penalty="hinge",
        gamma=10.0,
        gamma_decay=1.0,
        epochs=80,
        connection="dense",
        skip=True,
        growth=None,
    ),
    "faithful": Recipe(
        normalisation="joint",
        target="ensemble",
        label_share=0.0,
        temperature=2.0,
        penalty="hinge",
        gamma=5.0,
        gamma_decay=0.5,
        epochs=40,
        connection="dense",
        skip=True,
    ),
    "paper": Recipe(
        normalisation="per_label",
        target="student",
        label_share=0.0,
        temperature=2.0,
        penalty="barrier",
        gamma=300.0,
        gamma_decay=0.5,
        epochs=40,
        connection="none",
        skip=False,
    ),
}


def recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        SpecError: if there is none.
    """
    if name not in RECIPES:
        raise SpecError(f"recipe {name!r} is unknown; choose one of {', '.join(RECIPES)}.")
    return RECIPES[name]
