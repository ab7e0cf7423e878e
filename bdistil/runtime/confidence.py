"""How sure the answers are: temperatures and the expected calibration error, in numpy."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bdistil.blocks import row_blocks

Floats = NDArray[np.floating]

GOLDEN = (math.sqrt(5) - 1) / 2


def softmax(logits: Floats, temperature: float | Floats = 1.0) -> Floats:
    """Probabilities (..., L) of logits (..., L) divided by a temperature."""
    scaled: Floats = logits / temperature
    scaled -= np.maximum.reduce(scaled, axis=-1, keepdims=True)
    np.exp(scaled, out=scaled)
    scaled /= np.add.reduce(scaled, axis=-1, keepdims=True)
    return scaled


def no_or_yes(logits: Floats) -> Floats:
    """Labels that hold or not as questions of two classes: logits (N, L) to (N, L, 2).

    The sigmoid of a logit is the softmax of 0 and this logit.
    """
    return np.stack([np.zeros_like(logits), logits], axis=-1)


def negative_log_likelihood(logits: Floats, labels: NDArray[np.int64], temperature: float) -> float:
    """Mean over examples, in nats."""
    losses = np.empty(len(labels))
    for rows in row_blocks(logits.shape):
        scaled = np.asarray(logits[rows], float) / temperature
        peak = scaled.max(axis=1)
        log_sum = peak + np.log(np.exp(scaled - peak[:, None]).sum(axis=1))
        losses[rows] = log_sum - scaled[np.arange(len(scaled)), labels[rows]]
    return float(losses.mean())


def fit_temperature(
    logits: Floats, labels: NDArray[np.int64], low: float = 0.05, high: float = 20.0
) -> float:
    """The temperature with the least negative log-likelihood (Guo et al., ICML 2017).

    The loss is convex in 1/τ, so it has one minimum in log τ, which golden sections find.
    """
    left, right = math.log(low), math.log(high)
    while right - left > 1e-4:
        width = GOLDEN * (right - left)
        inner, outer = right - width, left + width
        losses = [negative_log_likelihood(logits, labels, math.exp(t)) for t in (inner, outer)]
        left, right = (left, outer) if losses[0] < losses[1] else (inner, right)
    return math.exp((left + right) / 2)


def expected_calibration_error(
    probabilities: Floats, labels: NDArray[np.int64], bins: int = 15
) -> float:
    """Mean gap between confidence and accuracy over equal bins of confidence, in [0, 1]."""
    sure = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    index = np.minimum((sure * bins).astype(int), bins - 1)
    gaps = np.bincount(index, weights=sure - right, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))
