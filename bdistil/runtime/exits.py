"""When an example has been looked at enough: early exit by a score that grows with certainty.

After each stage every example gets a score from its answers so far; it leaves as soon as the score
reaches a threshold. Answers are of shape (N, L), or (N, L, 2) where each of L labels holds or not;
an example is then as sure as its least sure label. numpy only, so that a device needs nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bdistil.errors import SpecError

Floats = NDArray[np.floating]
Score = Callable[[Sequence[Floats]], Floats]
Metric = Callable[[Floats, NDArray[np.intp]], float]
"""How good answers to some rows are: the answers (B, L) or (B, L, 2), and which rows, (B,)."""

GROUPS = 20  # of examples, each left out once to see how far a metric can be trusted


def confidence(trace: Sequence[Floats]) -> Floats:
    """Probability of the likeliest class."""
    return _of_least_sure(trace[-1].max(axis=-1))


def margin(trace: Sequence[Floats]) -> Floats:
    """Probability of the likeliest class minus that of the second."""
    if trace[-1].shape[-1] == 1:
        return _of_least_sure(trace[-1][..., 0])
    ordered = np.partition(trace[-1], -2, axis=-1)
    return _of_least_sure(ordered[..., -1] - ordered[..., -2])


def patience(trace: Sequence[Floats]) -> Floats:
    """Number of stages before this one, without a break, that gave the same class (labels)."""
    answers = [step.argmax(axis=-1) for step in trace]
    streak = np.zeros(len(answers[-1]))
    unbroken = np.ones(len(streak), bool)
    for earlier in reversed(answers[:-1]):
        unbroken &= (earlier == answers[-1]).reshape(len(streak), -1).all(axis=1)
        streak += unbroken
    return streak


def stability(trace: Sequence[Floats]) -> Floats:
    """Minus the largest change of an output in the last stage; minus infinity after the first."""
    if len(trace) == 1:
        return np.full(len(trace[0]), -np.inf)
    change: Floats = -np.abs(trace[-1] - trace[-2]).reshape(len(trace[-1]), -1).max(axis=1)
    return change


def _of_least_sure(scores: Floats) -> Floats:
    """Scores (N,) of the examples, from their own or from those of their labels, (N, L)."""
    least: Floats = scores if scores.ndim == 1 else scores.min(axis=1)
    return least


SCORES: dict[str, Score] = {
    "confidence": confidence,
    "margin": margin,
    "patience": patience,
    "stability": stability,
}
FOR_REGRESSION = ("stability",)


def usual_score(regression: bool) -> str:
    """The score that is used where none is named."""
    return "stability" if regression else "confidence"


@dataclass(frozen=True)
class ExitPolicy:
    """Leave once the score reaches the threshold.

    Attributes:
        score: ``confidence``, ``margin``, ``patience`` or ``stability`` (the one for regression).
        threshold: of the score; infinity never leaves early.

    Raises:
        SpecError: if the score is unknown or the threshold is no number.

    Example:
        >>> policy = ExitPolicy("confidence", 0.9)
        >>> policy.leaves([np.array([[0.95, 0.05], [0.6, 0.4]])])
        array([ True, False])
    """

    score: str
    threshold: float

    def __post_init__(self) -> None:
        if self.score not in SCORES:
            raise SpecError(f"exit score {self.score!r} is unknown; choose {', '.join(SCORES)}.")
        number = isinstance(self.threshold, int | float | np.number)
        if not number or isinstance(self.threshold, bool) or np.isnan(self.threshold):
            raise SpecError(f"exit threshold is {self.threshold!r}; give a number.")

    def leaves(self, trace: Sequence[Floats]) -> NDArray[np.bool_]:
        """Which examples leave, bool (B,).

        Args:
            trace: what each stage so far answered: probabilities (B, L), of no and yes (B, L, 2)
                for several labels, or the predictions (B, L) themselves for regression.
        """
        return np.asarray(SCORES[self.score](trace) >= self.threshold)


@dataclass(frozen=True)
class OperatingPoint:
    """What a policy did on the validation split; JSON-able.

    Attributes:
        score: of the policy.
        threshold: of the policy; None never leaves early, as JSON has no infinity.
        metric: accuracy, micro F1 of labels, or R² for regression.
        cost: mean cost of an example, in the unit of the stages' costs.
        stages: mean number of stages.
        doubt: standard error of the metric's difference from the full ensemble's.
        leaving: share of the examples that leave after each stage; empty in older exports.
        error: standard error of the metric itself.
        rows: examples that it was measured on; 0 in older exports.
    """

    score: str
    threshold: float | None
    metric: float
    cost: float
    stages: float
    doubt: float = 0.0
    leaving: tuple[float, ...] = ()
    error: float = 0.0
    rows: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "leaving", tuple(self.leaving))  # JSON knows lists
        figures = (self.metric, self.cost, self.stages, self.doubt, self.error, *self.leaving)
        if not all(map(math.isfinite, figures)):
            raise ValueError(f"an early exit by {self.score!r} has figures that are no numbers")

    @cached_property
    def policy(self) -> ExitPolicy:
        """The policy, to be used."""
        return ExitPolicy(self.score, np.inf if self.threshold is None else self.threshold)

    @property
    def assured(self) -> float:
        """The metric less its doubt: few examples can make a poor policy look good."""
        return self.metric - self.doubt


def operating_points(
    score: str,
    trace: Sequence[Floats],
    metric: Metric,
    costs: Sequence[float],
    limit: int = 32,
) -> list[OperatingPoint]:
    """What every threshold worth telling apart does, from the cheapest to the most patient.

    Args:
        score: name of the score.
        trace: each stage's answers on validation examples, (N, L) or (N, L, 2) each.
        metric: of answers to some of the examples.
        costs: of running up to each stage, on the way through all before it.
        limit: most thresholds to try; they are quantiles of the scores seen.
    """
    scores = np.stack([SCORES[score](trace[: stage + 1]) for stage in range(len(trace))])
    seen = np.unique(scores[:-1][np.isfinite(scores[:-1])])
    shares = np.linspace(0, 1, min(limit, len(seen)))
    thresholds = (
        [*np.unique(np.quantile(seen, shares, method="nearest")), np.inf] if len(seen) else [np.inf]
    )
    left_out = _metrics_without_a_group(trace[-1], metric)
    return [
        _point(ExitPolicy(score, float(t)), scores, trace, metric, costs, left_out)
        for t in thresholds
    ]


def _point(
    policy: ExitPolicy,
    scores: Floats,
    trace: Sequence[Floats],
    metric: Metric,
    costs: Sequence[float],
    full_left_out: Floats,
) -> OperatingPoint:
    leaves = scores >= policy.threshold
    leaves[-1] = True
    stage = leaves.argmax(axis=0)  # the first that lets go
    answers = trace[-1].copy()
    for number, earlier in enumerate(trace[:-1]):
        answers[stage == number] = earlier[stage == number]
    cost = float(np.asarray(costs, float)[stage].mean())
    left_out = _metrics_without_a_group(answers, metric)
    doubt, error = map(_jackknife, (left_out - full_left_out, left_out))
    value = metric(answers, np.arange(len(answers)))
    threshold = policy.threshold if np.isfinite(policy.threshold) else None
    leaving = tuple((np.bincount(stage, minlength=len(trace)) / len(stage)).tolist())
    stages, rows = float(stage.mean()) + 1, len(answers)
    return OperatingPoint(policy.score, threshold, value, cost, stages, doubt, leaving, error, rows)


def _jackknife(left_out: Floats) -> float:
    """Standard error of what was measured without each of the groups in turn."""
    return float(left_out.std() * np.sqrt(max(0, len(left_out) - 1)))


def _metrics_without_a_group(answers: Floats, metric: Metric) -> Floats:
    """The metric without each of the groups of examples in turn, (groups,)."""
    rows = np.arange(len(answers))
    groups = min(GROUPS, len(rows))
    if groups < 2:
        return np.zeros(1)
    kept = [rows[rows % groups != group] for group in range(groups)]
    return np.array([metric(answers[some], some) for some in kept])


def cheapest(points: Sequence[OperatingPoint], at_least: float) -> OperatingPoint:
    """The cheapest point whose assured metric is at least that; else the one with the best metric.

    Without the doubt, the luckiest of many thresholds would be chosen.
    """
    good = [point for point in points if point.assured >= at_least]
    return min(good, key=lambda p: p.cost) if good else max(points, key=lambda p: p.metric)


def best_within(points: Sequence[OperatingPoint], budget: float) -> OperatingPoint:
    """The point with the best metric whose cost is at most that; else the cheapest."""
    affordable = [point for point in points if point.cost <= budget]
    if not affordable:
        return min(points, key=lambda p: p.cost)
    return max(affordable, key=lambda p: (p.metric, -p.cost))
