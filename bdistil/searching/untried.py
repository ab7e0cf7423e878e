"""Values of a dimension that no trial has had yet."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

PARTS = 4  # of a range, each tried once before any is preferred: as many as tries of a class
SHORT = 5  # choices of a list that are each tried once before any is preferred


def untried_choice(
    dimension: CategoricalDistribution, had: Sequence[Any], draw: random.Random
) -> Any:
    """One of the choices of a short list that are not among `had`; None if there is none."""
    tried = set(map(repr, had))
    left = [choice for choice in dimension.choices if repr(choice) not in tried]
    return draw.choice(left) if left and len(dimension.choices) <= SHORT else None


def in_untried_part(
    dimension: FloatDistribution, had: Sequence[float], draw: random.Random
) -> float | None:
    """A value in one of the quarters of a range that hold none of `had`; None if all do.

    A Latin hypercube, of which as much is drawn as there are trials.
    """
    scale = math.log if dimension.log else float
    low, width = scale(dimension.low), scale(dimension.high) - scale(dimension.low)
    tried = {min(PARTS - 1, int(PARTS * (scale(value) - low) / width)) for value in had}
    left = [part for part in range(PARTS) if part not in tried]
    if not left:
        return None
    return value_at(dimension, (draw.choice(left) + draw.random()) / PARTS)


def value_by_chance(dimension: BaseDistribution, draw: random.Random) -> Any:
    """Any value of a dimension."""
    if isinstance(dimension, CategoricalDistribution):
        return draw.choice(dimension.choices)
    assert isinstance(dimension, FloatDistribution)
    return value_at(dimension, draw.random())


def value_at(dimension: FloatDistribution, share: float) -> float:
    """The value at a share of the way through a range."""
    scale, back = (math.log, math.exp) if dimension.log else (float, float)
    low, high = scale(dimension.low), scale(dimension.high)
    return min(max(back(low + share * (high - low)), dimension.low), dimension.high)
