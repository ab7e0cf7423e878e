"""R² of answers, with numpy alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def r_squared(answers: NDArray[Any], truth: NDArray[Any]) -> float | None:
    """Share of the targets' variance that answers explain, whatever the targets' units.

    Args:
        answers: (N,) or (N, L).
        truth: the targets, of the same shape.

    Returns:
        The mean over the targets that differ between examples; None if none does, as R² says
        nothing of a constant.
    """
    truth = np.asarray(truth, np.float64).reshape(len(truth), -1)
    differ = (truth != truth[:1]).any(axis=0)
    if not differ.any():
        return None
    truth, answers = truth[:, differ], np.reshape(answers, (len(truth), -1))[:, differ]
    residual = np.square(answers - truth).sum(axis=0)
    return float(np.mean(1 - residual / np.square(truth - truth.mean(axis=0)).sum(axis=0)))
