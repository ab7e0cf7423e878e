"""Fitting of the affine map that brings features to mean 0 and deviation 1."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdistil.data.dataset import Domain, Standardisation

POOLED_AXES: dict[Domain, tuple[int, ...]] = {
    "tabular": (0,),
    "image": (0, 2, 3),
    "sequence": (0, 1),
}


BLOCK_VALUES = 2**22
"""Values taken at once, so that features on disk are never in memory as a whole."""


def fit_standardisation(x: NDArray[Any], domain: Domain) -> Standardisation:
    """Mean and deviation of each tabular feature, image channel or sequence feature.

    Args:
        x: training features, numbers of any type, (N, features), (N, channels, height, width) or
            (N, time, features).
        domain: which of these shapes it is.

    Returns:
        A shift and a scale of shape (features,), (channels, 1, 1) or (1, features); the scale of
        a constant feature is 1.
    """
    mean = _mean(x, domain, lambda rows: rows)
    deviation = np.sqrt(_mean(x, domain, lambda rows: np.square(rows - mean)))
    rounding = np.finfo(np.float32).eps * np.abs(mean)
    scale = np.where(deviation > rounding, deviation, 1.0).astype(np.float32)
    # A deviation below the least float32 would round to zero.
    scale = np.where(scale > 0, scale, np.float32(1))
    return Standardisation(mean.astype(np.float32), scale)


def _mean(
    x: NDArray[Any], domain: Domain, function: Callable[[NDArray[Any]], NDArray[Any]]
) -> NDArray[np.float64]:
    """The mean of a function of the features, float64, in the shape of one example's shift."""
    rows = max(1, BLOCK_VALUES // math.prod(x.shape[1:]))
    total: Any = 0.0
    for start in range(0, len(x), rows):
        block = function(x[start : start + rows].astype(np.float64))
        total = total + block.sum(axis=POOLED_AXES[domain], keepdims=True)[0]
    mean: NDArray[np.float64] = total * (total.size / x.size)
    return mean
