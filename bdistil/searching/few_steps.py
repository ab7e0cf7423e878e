"""What to say where so few examples make few steps, and students stayed below the goal."""

from __future__ import annotations

import math

from bdistil.core.recipes import recipe
from bdistil.data.dataset import Dataset
from bdistil.runs.journal import EndRecord
from bdistil.searching.worker_count import batch_size
from bdistil.spec import Spec
from bdistil.words import counted

FEW_STEPS = 640
"""Of a candidate's optimizer. With more of them single students of long series come up to 18 points
nearer to their teacher; whole searches, and tables, are not better in the mean
(results/2026-11-30-series). So it is advice and no default."""
MOST_EPOCHS = 320


def told_few_steps(spec: Spec, dataset: Dataset, ended: EndRecord | None) -> str | None:
    """A sentence on more epochs, after a search that ended below its goal; None for others."""
    if ended is None or ended.end == "goal":
        return None
    rows = len(dataset.train)
    steps = max(1, -(-rows // batch_size(spec, rows)))
    epochs = int(max(spec.space.values("epochs") or [recipe(name).epochs for name in spec.recipes]))
    if epochs * steps >= FEW_STEPS or epochs >= MOST_EPOCHS:
        return None
    more = min(MOST_EPOCHS, math.ceil(FEW_STEPS / steps))
    return (
        f"Students were trained for at most {counted(epochs * steps, 'step')}, as {rows:,} "
        f"examples make {steps} an epoch; more may bring first stages nearer to the teacher "
        f"(space.epochs={more})."
    )
