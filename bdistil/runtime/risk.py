"""Promises of early exits that hold on unseen examples, but for a stated risk.

Each score's thresholds are tested from the most patient to the hastiest, and the first that cannot
be shown to keep the promise ends the row: fixed sequence testing, as in Learn then Test (arXiv
2110.01052) and risk-controlled early exits (arXiv 2405.20915). So many thresholds may be tried
without any correction; only the scores share the risk. A share of right answers is tested by the
binomial distribution, exactly; other metrics by the normal one with the jackknife's error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from bdistil.runtime.exits import OperatingPoint

RISK = 0.1  # that a promise does not hold, unless told otherwise


def keeping(
    points: Sequence[OperatingPoint], at_least: float, risk: float, *, exact: bool
) -> list[OperatingPoint]:
    """The points whose metric on unseen examples is at least that, all of them but for the risk.

    Args:
        points: of one or several scores, with `rows` and `error`; all that were tried.
        at_least: the promise.
        risk: chance that one of those returned does not keep it.
        exact: the metric is a share of right answers.
    """
    by_score: dict[str, list[OperatingPoint]] = {}
    for point in points:
        by_score.setdefault(point.score, []).append(point)
    kept = []
    for own in by_score.values():
        for point in sorted(own, key=lambda p: p.policy.threshold, reverse=True):
            if assured(point, risk / len(by_score), exact=exact) < at_least:
                break
            kept.append(point)
    return kept


def assured(point: OperatingPoint, risk: float, *, exact: bool) -> float:
    """What a point's metric is at least, but for a risk; one test, nothing chosen by it."""
    if exact:
        return least_share(round(point.metric * point.rows), point.rows, risk)
    return point.metric - NormalDist().inv_cdf(1 - risk) * point.error


def least_share(right: int, rows: int, risk: float) -> float:
    """The largest share with which so many or more are right with a chance of at most `risk`.

    The lower bound of Clopper and Pearson (Biometrika 26, 1934).
    """
    if right == 0:
        return 0.0
    counts = np.arange(right, rows + 1)
    ways = math.lgamma(rows + 1) - np.array(
        [math.lgamma(count + 1) + math.lgamma(rows - count + 1) for count in counts.tolist()]
    )
    low, high = 0.0, right / rows
    for _ in range(40):
        share = (low + high) / 2
        with np.errstate(divide="ignore"):
            logs = ways + counts * np.log(share) + (rows - counts) * np.log1p(-share)
        low, high = (share, high) if np.exp(logs).sum() <= risk else (low, share)
    return low
