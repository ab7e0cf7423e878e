"""How often students see training splits so small that an epoch is a few steps."""

from __future__ import annotations

import math

from bdistil.core.recipes import recipe
from bdistil.data.dataset import Dataset
from bdistil.searching.worker_count import batch_size
from bdistil.spec import Spec
from bdistil.words import counted

LEAST_STEPS = 640
"""Of a candidate's optimizer; with half of them students of 29 to 160 series stay up to 16 points
further from their teacher (results/2026-11-30-series)."""
MOST_EPOCHS = 320


def with_enough_steps(spec: Spec, dataset: Dataset) -> Spec:
    """The spec with more epochs than the recipes' where nobody chose and these make few steps."""
    epochs = min(MOST_EPOCHS, math.ceil(LEAST_STEPS / steps_an_epoch(spec, dataset)))
    if spec.space.values("epochs") or epochs <= usual_epochs(spec):
        return spec
    return spec.model_copy(update={"space": spec.space.model_copy(update={"epochs": epochs})})


def steps_an_epoch(spec: Spec, dataset: Dataset) -> int:
    """Of the smallest batches that a candidate may have."""
    rows = len(dataset.train)
    return max(1, -(-rows // batch_size(spec, rows)))


def usual_epochs(spec: Spec) -> int:
    """The most of any recipe."""
    return max(recipe(name).epochs for name in spec.recipes)


def told_epochs(asked: Spec, spec: Spec, dataset: Dataset) -> str | None:
    """What was decided where the spec leaves it open, in a sentence; None if nothing was."""
    if asked.space.values("epochs") or not spec.space.values("epochs"):
        return None
    (epochs,) = spec.space.values("epochs")
    return (
        f"epochs: {epochs} instead of {usual_epochs(spec)}, as {len(dataset.train):,} training "
        f"examples make only {counted(steps_an_epoch(spec, dataset), 'step')} each (space.epochs)"
    )
