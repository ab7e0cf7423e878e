"""Budgeted batches: a total cost shared among examples, more of it for the hard ones.

The setting of MSDNet (Huang et al., ICLR 2018): of the examples that did stage t, a share q goes
on to the next stage; q is the largest that the budget allows. Which ones go on is decided by how
sure their answers are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def stage_counts(examples: int, increments: Sequence[float], budget: float) -> list[int]:
    """How many examples do each stage, n_1 >= n_2 >= ..., so that the cost is within the budget.

    Args:
        examples: N; all do the first stage, whatever the budget is.
        increments: cost of each single stage for one example.
        budget: mean cost of an example, in the same unit.
    """
    total = budget * examples
    low, high = 0.0, 1.0
    for _ in range(40):
        share = (low + high) / 2
        low, high = (share, high) if _cost(examples, increments, share) <= total else (low, share)
    share = 1.0 if _cost(examples, increments, 1.0) <= total else low
    counts = _counts(examples, len(increments), share)
    left = total - float(np.dot(counts, increments))
    for stage in range(1, len(counts)):  # what rounding left over
        more = int(min(counts[stage - 1] - counts[stage], max(0.0, left) // increments[stage]))
        counts[stage] += more
        left -= more * increments[stage]
    return counts


def _counts(examples: int, stages: int, share: float) -> list[int]:
    return [int(examples * share**stage) for stage in range(stages)]


def _cost(examples: int, increments: Sequence[float], share: float) -> float:
    return float(np.dot(_counts(examples, len(increments), share), increments))
