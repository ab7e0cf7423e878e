"""Which of the measured early exits is used: for an accuracy, or within a budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bdistil.errors import SpecError
from bdistil.runtime.anytime import seconds
from bdistil.runtime.clock import StageTimes
from bdistil.runtime.exits import FOR_REGRESSION, SCORES, OperatingPoint, best_within, cheapest
from bdistil.runtime.manifest import Manifest
from bdistil.runtime.risk import RISK, assured, keeping
from bdistil.runtime.values import as_text

TOLERANCE = 0.001  # of the metric that early exit may lose on validation, unless told otherwise
WORTH = 0.9
"""Of the time of going straight that leaving early may take by the figures, which are up to a sixth
below what it takes (benchmarks/early_exits.py): they know neither the call nor changing stages."""


Times = Callable[[], StageTimes]
"""Measures what stages take here, or remembers."""


def choose(
    manifest: Manifest,
    exits: Sequence[OperatingPoint],
    times: Times,
    score: str | None,
    at_least: float | None,
    budget: float | str | None,
    by: str,
    risk: float = RISK,
) -> OperatingPoint:
    """The point that :meth:`~bdistil.runtime.predictor.Predictor.policy` gives.

    Raises:
        SpecError: if the ensemble was exported without such points, what is asked for cannot be
            read, or no point keeps it.
    """
    _check(score, at_least, budget, by, risk)
    points = [p for p in exits if score in (None, p.policy.score)]
    if by == "time":
        points = times().timed(points)
    if exits and score is not None:
        check_score(manifest, score)
    if not points:
        kind = "early exits" if score is None else f"early exits by {score!r}"
        raise SpecError(f"{manifest.name!r} was exported without {kind}; export it anew.")
    if budget is not None:
        limit = _limit(manifest, times, budget, by)
        return _kept(best_within(points, limit), limit, points, by)
    worth = worth_it(points) if by == "time" else points
    if at_least is not None:
        return min(_keeping(manifest, worth, at_least, risk), key=lambda point: point.cost)
    full = max(points, key=lambda point: point.stages)
    return cheapest(worth, full.metric - TOLERANCE)


def worth_it(points: Sequence[OperatingPoint]) -> list[OperatingPoint]:
    """Those that never leave, and those that save time by it."""
    straight = min((p.cost for p in points if p.threshold is None), default=math.inf)
    return [p for p in points if p.threshold is None or p.cost <= WORTH * straight]


def _keeping(
    manifest: Manifest, points: Sequence[OperatingPoint], at_least: float, risk: float
) -> list[OperatingPoint]:
    """Points that keep a promise."""
    full = max(points, key=lambda point: point.stages)
    if full.rows == 0:
        raise SpecError(
            f"{manifest.name!r} was exported by an older version, which left out what at_least "
            "needs; export it anew."
        )
    exact = manifest.task == "classification"
    if kept := keeping(points, at_least, risk, exact=exact):
        return kept
    best = assured(full, risk / len({point.score for point in points}), exact=exact)
    raise SpecError(
        f"at_least is {as_text(at_least)}, but {full.rows} rows, on which all stages "
        f"have {full.metric:.4f}, assure no more than {math.floor(best * 1e4) / 1e4:.4f} at a risk "
        f"of {risk:g}; ask for at most that, or allow a higher risk."
    )


def _limit(manifest: Manifest, times: Times, budget: float | str, by: str) -> float:
    if by == "flops":
        return budget_of(budget, costs_of(manifest)[-1])
    if as_text(budget).strip().endswith("%"):
        measured = times()
        return budget_of(budget, measured.straight / measured.batch)
    return seconds(budget, "budget")


def _kept(
    point: OperatingPoint, limit: float, points: Sequence[OperatingPoint], by: str
) -> OperatingPoint:
    if point.cost > limit:
        least = min(each.cost for each in points)
        said = f"{1e6 * least:.3g} us" if by == "time" else f"{least:,.0f} FLOPs"
        raise SpecError(
            f"the budget is less than any policy costs in the mean of an example, {said} at least; "
            f"raise it, or go to a stage (stages=1)."
        )
    return point


def _check(
    score: str | None, at_least: float | None, budget: float | str | None, by: str, risk: float
) -> None:
    if not _is_finite(risk) or not 0 < risk < 1:
        raise SpecError(f"risk is {as_text(risk)}; give a chance between 0 and 1, such as 0.1.")
    if by not in ("time", "flops"):
        raise SpecError(f"by is {by!r}; choose time or flops.")
    if at_least is not None and budget is not None:
        raise SpecError("give at_least or a budget, not both.")
    if at_least is not None and not _is_finite(at_least):
        raise SpecError(f"at_least is {as_text(at_least)}; give an accuracy such as 0.95.")
    if at_least is not None and at_least > 1:
        raise SpecError(
            f"at_least is {as_text(at_least)}, and the most there is is 1; give a share such as "
            "0.95."
        )
    if score is not None and score not in tuple(SCORES):
        raise SpecError(f"exit score {score!r} is unknown; choose {', '.join(SCORES)}.")


def check_score(manifest: Manifest, score: str) -> None:
    """Refuse a score that the ensemble's task has not.

    Raises:
        SpecError: naming those that it has.
    """
    known = FOR_REGRESSION if manifest.regression else tuple(SCORES)
    if score not in known:
        raise SpecError(
            f"{manifest.name!r} is for {manifest.task}, which has no early exits by {score!r}; "
            f"choose {', '.join(known)}."
        )


def check_count(name: str, value: Any) -> None:
    """Refuse an argument that is no number of things.

    Raises:
        SpecError: naming it.
    """
    if type(value) is bool or not isinstance(value, int | np.integer) or value < 1:
        raise SpecError(f"{name} is {value!r}; give a whole number from 1 on.")


def _is_finite(value: Any) -> bool:
    try:
        return type(value) is not bool and math.isfinite(value)
    except (TypeError, OverflowError):
        return False


def costs_of(manifest: Manifest) -> tuple[float, ...]:
    """FLOPs up to each stage.

    Raises:
        SpecError: if they are not known.
    """
    if manifest.costs is None:
        raise SpecError(
            f"{manifest.name!r} was saved without figures; export it or save the estimator anew."
        )
    return manifest.costs


def budget_of(budget: float | str, full: float) -> float:
    """Mean FLOPs of an example.

    Args:
        budget: FLOPs, or such as ``"50%"``.
        full: FLOPs of all stages.

    Raises:
        SpecError: if it cannot be read.
    """
    text = as_text(budget).strip()
    try:
        value = float(text[:-1]) / 100 * full if text.endswith("%") else float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise SpecError(f"a budget of {text!r} cannot be read; give FLOPs, or such as '50%'.")
    return value
