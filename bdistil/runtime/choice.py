"""Which of the measured early exits is used: for an accuracy, or within a budget."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bdistil.errors import SpecError
from bdistil.runtime.exits import SCORES, OperatingPoint, best_within, cheapest
from bdistil.runtime.manifest import Manifest
from bdistil.runtime.values import as_text

TOLERANCE = 0.001  # of the metric that early exit may lose on validation, unless told otherwise


def choose(
    manifest: Manifest, score: str | None, at_least: float | None, budget: float | str | None
) -> OperatingPoint:
    """The point that :meth:`~bdistil.runtime.predictor.Predictor.policy` gives.

    Raises:
        SpecError: if the ensemble was exported without such points, or what is asked for cannot be
            read.
    """
    _check(score, at_least, budget)
    points = [p for p in manifest.exits if score in (None, p.policy.score)]
    if not points:
        kind = "early exits" if score is None else f"early exits by {score!r}"
        raise SpecError(f"{manifest.name!r} was exported without {kind}; export it anew.")
    if budget is not None:
        return best_within(points, budget_of(budget, costs_of(manifest)[-1]))
    if at_least is None:
        full = max(points, key=lambda point: point.cost)
        at_least = full.metric - TOLERANCE
    return cheapest(points, at_least)


def _check(score: str | None, at_least: float | None, budget: float | str | None) -> None:
    if at_least is not None and budget is not None:
        raise SpecError("give at_least or a budget, not both.")
    if at_least is not None and not _is_finite(at_least):
        raise SpecError(f"at_least is {as_text(at_least)}; give an accuracy such as 0.95.")
    if score is not None and score not in tuple(SCORES):
        raise SpecError(f"exit score {score!r} is unknown; choose {', '.join(SCORES)}.")


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
        raise SpecError(f"{manifest.name!r} was saved without figures; export it anew.")
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
