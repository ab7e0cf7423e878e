"""How good an answer can be that does not look at the example."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdistil.names import Task


def best_guess(y: NDArray[Any], task: Task) -> float:
    """The metric of the best constant answer: the commonest class, set of labels, or the mean.

    Args:
        y: class indices (N,), or targets or labels 0 and 1 (N, L).
        task: what `y` is.
    """
    if task == "regression":
        return 0.0  # R²
    if task == "classification":
        return float(np.bincount(y).max() / len(y))
    counts = np.sort(y.sum(axis=0, dtype=np.float64))[::-1]
    given = len(y) * np.arange(1, len(counts) + 1)  # by naming the commonest labels
    return float((2 * counts.cumsum() / (given + counts.sum())).max())
