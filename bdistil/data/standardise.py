"""Standardisation: features to mean 0 and deviation 1, regression targets likewise."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdistil.data.dataset import Dataset, Split, Standardisation
from bdistil.files.array_files import block_rows, mapped, mapped_file, new_array
from bdistil.names import Domain

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


@dataclass(frozen=True)
class TargetScale:
    """Affine map from standardised regression targets to raw ones; the identity for labels.

    Attributes:
        scale: float32 (L,).
        shift: float32 (L,).
    """

    scale: NDArray[np.float32]
    shift: NDArray[np.float32]

    @classmethod
    def of(cls, dataset: Dataset) -> TargetScale:
        """The map that the training split's targets call for."""
        if dataset.task != "regression":
            ones = np.ones(dataset.outputs, np.float32)
            return cls(ones, np.zeros_like(ones))
        spread = dataset.train.y.std(axis=0)
        return cls(np.where(spread > 0, spread, 1).astype(np.float32), dataset.train.y.mean(axis=0))

    def standardise(self, targets: NDArray[Any]) -> NDArray[Any]:
        """Targets (N, L) in units of the training split; labels stay as they are."""
        if targets.ndim == 1:
            return targets
        scaled: NDArray[np.float32] = ((targets - self.shift) / self.scale).astype(np.float32)
        return scaled


def standardised(dataset: Dataset, split: Split) -> NDArray[np.float32]:
    """The split's features under the training split's standardisation, float32; mapped as they."""
    file = standardised_file(dataset, split)
    if file is not None:
        return mapped(file)
    rule = dataset.standardisation
    features: NDArray[np.float32] = split.x - rule.shift
    features /= rule.scale
    return np.ascontiguousarray(features, dtype=np.float32)


def standardised_file(dataset: Dataset, split: Split) -> Path | None:
    """The file of a mapped split's standardised features, made if need be; None for others."""
    raw = mapped_file(split.x)
    if raw is None:
        return None
    rule, step = dataset.standardisation, block_rows(split.x.shape[1:])
    key = hashlib.sha256(rule.shift.tobytes() + rule.scale.tobytes()).hexdigest()[:8]
    file = raw.with_name(f"{raw.stem}-standardised-{key}.npy")
    if not file.exists():
        with new_array(file, np.float32, split.x.shape) as features:
            for start in range(0, len(features), step):
                rows = slice(start, start + step)
                features[rows] = (split.x[rows] - rule.shift) / rule.scale
    return file
