"""How good an answer can be that does not look at the example."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdistil.names import Task


def best_guess(y: NDArray[Any], task: Task, weights: NDArray[np.float32] | None = None) -> float:
    """The metric of the best constant answer: the commonest class, set of labels, or the mean.

    Args:
        y: class indices (N,), or targets or labels 0 and 1 (N, L).
        task: what `y` is.
        weights: of the examples, (N,); None counts all alike.
    """
    each = np.ones(len(y)) if weights is None else weights.astype(np.float64)
    if task == "regression":
        return 0.0  # R²
    if task == "classification":
        return float(np.bincount(y, each).max() / each.sum())
    counts = np.sort(each @ y)[::-1]
    given = each.sum() * np.arange(1, len(counts) + 1)  # by naming the commonest labels
    return float((2 * counts.cumsum() / (given + counts.sum())).max())
