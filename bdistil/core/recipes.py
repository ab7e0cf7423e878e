"""Recipes: named settings of FIND_WL that were found to work together.

``accurate`` aims at test accuracy along the anytime curve, ``faithful`` at staying close to the
teacher's logits, ``paper`` is the published algorithm as written. ``auxiliary`` is for data on
which students are far from their teacher: each one's head answers anew for all students so far, and
a second head makes it learn for itself.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic.dataclasses import dataclass

from bdistil.errors import SpecError
from bdistil.names import Normalisation, Precision, RecipeName
from bdistil.spec.space import Settings

USUAL = {
    "temperature": (0.01, 100),
    "weight_decay": (0, 5),
    "own_loss": (0, 1000),
    "gamma": (0.001, math.inf),
    "correction_bound": (0, 1000),
}
"""Where values lie with which training diverges for no other reason than its learning rate."""


@dataclass(frozen=True, kw_only=True)
class Recipe(Settings):
    """Settings of FIND_WL for one candidate: the space's dimensions, and what no space varies.

    Attributes:
        normalisation: of K+ and K-; the first recipe of a search decides for the whole run.
        target: which logits the fitting loss sees: the student's f_t or the ensemble's F_t.
        penalty: the weak-learning term.
        gamma_decay: factor on γ for each further try in the same student class.
        precision: of the student's products while it trains; ``bf16`` is autocast's.
        growth: cumulative cost of stage t+1 over stage t; 0 for equal widths, None for the
            student class's own.
    """

    normalisation: Normalisation
    target: Literal["student", "ensemble"]
    penalty: Literal["barrier", "hinge"]
    gamma_decay: float
    precision: Precision = "fp32"
    growth: float | None = 0.0

    def batch_for(self, examples: int) -> int:
        """Batch size for a training split of `examples`."""
        return self.batch_size or min(128, max(16, examples // 4))

    @property
    def remedy(self) -> str:
        """What to change where training ends in no numbers: what is far from usual, else lr."""
        for name, (low, high) in USUAL.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                return f"{'raise' if value < low else 'lower'} space.{name} (now {value:g})"
        return "lower space.lr"


RECIPES: dict[RecipeName, Recipe] = {
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
    "auxiliary": Recipe(
        normalisation="joint",
        target="ensemble",
        label_share=0.0,
        temperature=2.0,
        penalty="hinge",
        gamma=5.0,
        gamma_decay=0.5,
        epochs=40,
        connection="dense",
        skip=False,
        own_loss=1.0,
        growth=None,
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


def recipe(name: RecipeName) -> Recipe:
    """The recipe of that name.

    Raises:
        SpecError: if there is none.
    """
    if name not in RECIPES:
        raise SpecError(f"recipe {name!r} is unknown; choose one of {', '.join(RECIPES)}.")
    return RECIPES[name]
