"""Fitting of the affine map that brings features to mean 0 and deviation 1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bdistil.data.dataset import Domain, Standardisation

POOLED_AXES: dict[Domain, tuple[int, ...]] = {
    "tabular": (0,),
    "image": (0, 2, 3),
    "sequence": (0, 1),
}


def fit_standardisation(x: NDArray[np.float32], domain: Domain) -> Standardisation:
    """Mean and deviation of each tabular feature, image channel or sequence feature.

    Args:
        x: training features, float32, (N, features), (N, channels, height, width) or
            (N, time, features).
        domain: which of these shapes it is.

    Returns:
        A shift and a scale of shape (features,), (channels, 1, 1) or (1, features); the scale of
        a constant feature is 1.
    """
    axes = POOLED_AXES[domain]
    mean = x.mean(axis=axes, keepdims=True, dtype=np.float64)[0]
    deviation = x.std(axis=axes, keepdims=True, dtype=np.float64)[0]
    rounding = np.finfo(np.float32).eps * np.abs(mean)
    scale = np.where(deviation > rounding, deviation, 1.0).astype(np.float32)
    # A deviation below the least float32 would round to zero.
    scale = np.where(scale > 0, scale, np.float32(1))
    return Standardisation(mean.astype(np.float32), scale)
