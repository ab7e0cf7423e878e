"""Paired comparisons over data sets and seeds: intervals, tests, effect sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

CONFIDENCE = 0.95
RESAMPLES = 5000
BUDGETS = 25
FEWEST = 5
"""Values below which an interval or an effect would say nothing."""

LEAST_TEACHER = 0.05
"""The metric of a teacher from which on shares of it say something."""

Curve = Sequence[tuple[float, float]]
"""Cost and metric of each stage, cheapest first."""


def metric_at(curve: Curve, budget: float) -> float:
    """The metric of the last stage that costs at most `budget`; NaN if none does."""
    affordable = [metric for cost, metric in curve if cost <= budget]
    return affordable[-1] if affordable else float("nan")


def budgets_of(curves: Sequence[Curve]) -> NDArray[np.float64]:
    """Log-spaced budgets on which curves are compared, float64 (25,).

    From where every curve has an answer to where the dearest one ends.
    """
    lowest = max(curve[0][0] for curve in curves)
    highest = max(curve[-1][0] for curve in curves)
    return log_spaced(lowest, highest)


def log_spaced(lowest: float, highest: float) -> NDArray[np.float64]:
    """Budgets from the lowest to the highest, float64 (25,); all alike if these are."""
    budgets: NDArray[np.float64] = np.geomspace(lowest, highest, BUDGETS)
    return np.maximum(budgets, lowest)  # rounding must not put one below the first stage


def area(curve: Curve, budgets: NDArray[np.float64]) -> float:
    """Mean metric over the budgets."""
    return float(np.mean([metric_at(curve, budget) for budget in budgets]))


def quotient(values: Any, reference: Any) -> NDArray[np.float64]:
    """Values over those of a reference, float64; NaN where the reference is not above 0.

    Of what is no better than nothing, as an R² below 0, a share would say the opposite.
    """
    below = np.asarray(reference, np.float64)
    return np.asarray(values, np.float64) / np.where(below > 0, below, np.nan)


def share_of(values: Any, teacher: Any) -> NDArray[np.float64]:
    """Values as shares of a teacher's metric, float64; NaN where that is below 0.05.

    Of a teacher hardly better than guessing (an R² of .02) a student of .04 has a share of 2, and
    so one data set would decide a mean over many.
    """
    metric = np.asarray(teacher, np.float64)
    return quotient(values, np.where(metric >= LEAST_TEACHER, metric, np.nan))


@dataclass(frozen=True)
class Comparison:
    """One side against another, over pairs of the same data set and seed.

    Attributes:
        pairs: how many.
        difference: mean of one side minus the other; `low` and `high` bound it with 95%
            confidence (bootstrap over the pairs, BCa), NaN for fewer than five pairs.
        effect: the mean difference in standard deviations of the differences (Cohen's d_z), NaN
            for fewer than five pairs.
        p: of Wilcoxon's signed-rank test, two-sided; corrected by :func:`corrected`.
        wins: share of data sets whose mean difference is positive.
    """

    pairs: int
    difference: float
    low: float
    high: float
    effect: float
    p: float
    wins: float


def compare(differences: NDArray[np.float64], data: Sequence[str], seed: int = 0) -> Comparison:
    """Statistics of paired differences.

    Args:
        differences: one side minus the other, float64 (pairs,).
        data: the data set of each pair.
        seed: of the bootstrap.
    """
    mean = float(differences.mean())
    low, high = interval(differences, seed)
    names = np.asarray(data)
    means = [differences[names == name].mean() for name in sorted(set(data))]
    return Comparison(
        pairs=len(differences),
        difference=mean,
        low=low,
        high=high,
        effect=effect(differences),
        p=signed_rank(differences),
        wins=float(np.mean([value > 0 for value in means])),
    )


def effect(differences: NDArray[np.float64]) -> float:
    """Cohen's d_z; 0 if all are equal, NaN for fewer than five."""
    if len(differences) < FEWEST:
        return float("nan")
    spread = float(differences.std(ddof=1))
    return float(differences.mean()) / spread if spread else 0.0


def interval(values: NDArray[np.float64], seed: int = 0) -> tuple[float, float]:
    """Bootstrap interval of the mean with 95% confidence; NaN for fewer than five values.

    The mean itself if all values are equal.
    """
    if len(values) < FEWEST:
        return float("nan"), float("nan")
    if np.ptp(values) == 0:
        return float(values.mean()), float(values.mean())
    found = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)


def ends(values: NDArray[np.float64]) -> dict[str, float]:
    """:func:`interval` as `low` and `high`."""
    return dict(zip(("low", "high"), interval(values), strict=True))


def signed_rank(differences: NDArray[np.float64]) -> float:
    """p of Wilcoxon's signed-rank test, two-sided; 1 if nothing differs."""
    if len(differences) < 2 or not np.any(differences):
        return 1.0
    return float(stats.wilcoxon(differences, zero_method="zsplit").pvalue)


def corrected(ps: Sequence[float]) -> list[float]:
    """p values after Holm's correction for so many comparisons, in the same order."""
    order = np.argsort(ps)
    factors = len(ps) - np.arange(len(ps))
    stepped = np.minimum(1, np.maximum.accumulate(np.asarray(ps)[order] * factors))
    result = np.empty(len(ps))
    result[order] = stepped
    return [float(p) for p in result]
