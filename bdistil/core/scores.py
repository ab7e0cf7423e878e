"""Measures of answers beside the main one, each for many weightings of the examples at once.

A bootstrap repetition is a weighting: how often each example was drawn. So the intervals cost a few
matrix products and nothing is computed in two ways.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdistil.blocks import row_blocks
from bdistil.names import METRIC, Task

Floats = NDArray[np.floating]
Weights = NDArray[np.float32]
"""Of the examples, (B, N): ones, or how often each was drawn."""

MOST_SORTED = 5_000_000
"""Examples times classes up to which areas under the curve are computed: each class is sorted."""
LARGEST = 20_000_000
"""Numbers in the weights of all repetitions."""
REPETITIONS = (200, 1_000)
ROUNDING = 1e-9
"""Of the largest square: below it a variance is what rounding left."""
LEAST_PROBABILITY = 1e-15


def drawn_weights(examples: int, seed: int = 0, groups: NDArray[np.int64] | None = None) -> Weights:
    """Bootstrap repetitions: how often each of N examples is drawn in N draws, (B, N).

    Of several groups (N,) whole ones are drawn, as many as there are: what a speaker or a patient
    says twice is no news, and figures are uncertain by who happened to be asked.
    """
    least, most = REPETITIONS
    count = int(np.clip(LARGEST // max(1, examples), least, most))
    rng = np.random.default_rng(seed)
    weights = np.empty((count, examples), np.float32)
    number = np.arange(examples)
    if groups is not None and len(found := np.unique(groups)) > 1:
        number = np.searchsorted(found, groups)
    drawn = int(number.max(initial=-1)) + 1
    for row in weights:
        row[:] = np.bincount(rng.integers(drawn, size=drawn), minlength=drawn)[number]
    return weights


def scores(
    logits: Floats, truth: NDArray[Any], task: Task, weights: Weights, temperature: float = 1.0
) -> dict[str, Floats]:
    """Every measure of the task, the main one first, (B,) each; NaN where it means nothing.

    Errors of several targets are in each target's standard deviations over the N examples.

    Args:
        logits: of N examples, (N, L); for regression targets in the user's units.
        truth: class indices (N,), labels 0 and 1 or targets (N, L).
        task: what `truth` is.
        weights: of the examples.
        temperature: by which logits are divided for probabilities.
    """
    if task == "regression":
        return _of_targets(np.asarray(logits, np.float64), truth, weights)
    measured = _of_classes if task == "classification" else _of_labels
    return measured(logits, truth, weights, temperature)


def _of_classes(
    logits: Floats, truth: NDArray[Any], weights: Weights, temperature: float
) -> dict[str, Floats]:
    answers, outputs = logits.argmax(axis=1), logits.shape[1]
    own = np.empty(len(truth))
    for rows in row_blocks(logits.shape):
        log_p = _log_probabilities(logits[rows], temperature)
        own[rows] = log_p[np.arange(len(log_p)), truth[rows]]
    hits = _sums((answers == truth).astype(np.float32), truth, weights, outputs)
    there = _sums(1.0, truth, weights, outputs)
    answered = _sums(1.0, answers, weights, outputs)
    found = {
        METRIC["classification"]: _mean(answers == truth, weights),
        "balanced accuracy": _nan_mean(_ratio(hits, there)),
        "macro F1": _nan_mean(_ratio(2 * hits, there + answered)),
        "log loss": _mean(-np.maximum(own, np.log(LEAST_PROBABILITY)), weights),
    }
    if logits.size <= MOST_SORTED:
        columns = range(outputs) if outputs > 2 else [1]
        log_p = _log_probabilities(logits, temperature)
        areas = [_area(log_p[:, j], truth == j, weights) for j in columns]
        found["AUC"] = _nan_mean(np.stack(areas, axis=1))
    return found


def _log_probabilities(logits: Floats, temperature: float) -> Floats:
    scaled = np.asarray(logits, np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    log_p: Floats = scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))
    return log_p


def _of_labels(
    logits: Floats, truth: NDArray[Any], weights: Weights, temperature: float
) -> dict[str, Floats]:
    answers, holds = logits > 0, truth > 0
    hits, given, there = (
        weights @ each.astype(np.float32) for each in (answers & holds, answers, holds)
    )
    losses = np.empty(len(truth))
    for rows in row_blocks(logits.shape):
        scaled = np.asarray(logits[rows], np.float64) / temperature
        losses[rows] = np.logaddexp(0, np.where(holds[rows], -scaled, scaled)).mean(axis=1)
    return {
        METRIC["multilabel"]: _ratio(2 * hits.sum(1), given.sum(1) + there.sum(1)),
        "macro F1": _nan_mean(_ratio(2 * hits, given + there)),
        "all labels right": _mean((answers == holds).all(axis=1), weights),
        "log loss": _mean(losses, weights),
    }


def _of_targets(answers: Floats, truth: NDArray[Any], weights: Weights) -> dict[str, Floats]:
    errors, total = answers - truth, weights.sum(axis=1, keepdims=True)
    centred = truth - truth.mean(axis=0)  # the variance is a difference of large numbers otherwise
    mean = weights @ centred / total
    variance = weights @ np.square(centred) / total - np.square(mean)
    # What rounding leaves of a target that is the same in all examples drawn is no variance.
    variance[variance <= ROUNDING * np.square(centred).max(axis=0)] = 0
    constant = (truth == truth[:1]).all(axis=0)
    variance[:, constant] = 0
    squared = weights @ np.square(errors) / total
    absolute = weights @ np.abs(errors) / total
    unit, of_unit = np.ones(truth.shape[1]), ""
    if truth.shape[1] > 1:  # a mean of dollars and degrees would say nothing
        unit, of_unit = np.where(constant, np.nan, truth.std(axis=0)), " in deviations"
    return {
        METRIC["regression"]: _nan_mean(1 - _ratio(squared, variance)),
        f"RMSE{of_unit}": _nan_mean(np.sqrt(squared) / unit),
        f"MAE{of_unit}": _nan_mean(absolute / unit),
    }


def _sums(values: Any, groups: NDArray[np.int64], weights: Weights, count: int) -> Floats:
    """Weighted sums of the values (N,) in each group, (B, count)."""
    members = np.zeros((len(groups), count), np.float32)
    members[np.arange(len(groups)), groups] = values
    return np.asarray(weights @ members, np.float64)


def _mean(values: NDArray[Any], weights: Weights) -> Floats:
    return np.asarray(weights @ values.astype(np.float64) / weights.sum(axis=1))


def _ratio(above: NDArray[Any], below: NDArray[Any]) -> Floats:
    """Quotients; NaN where there is nothing to divide by."""
    quotients: Floats = np.full(np.shape(above), np.nan)
    np.divide(above, below, out=quotients, where=below > 0)
    return quotients


def _nan_mean(values: Floats) -> Floats:
    """Mean over the last axis of what is there; NaN if nothing is."""
    there = ~np.isnan(values)
    return _ratio(np.where(there, values, 0).sum(axis=1), there.sum(axis=1).astype(float))


def _area(sure: Floats, positive: NDArray[np.bool_], weights: Weights) -> Floats:
    """Area under the curve of one class against the rest; ties count half."""
    own, others = np.flatnonzero(positive), np.flatnonzero(~positive)
    others = others[np.argsort(sure[others], kind="stable")]
    below = np.zeros((len(weights), len(others) + 1))  # weight of the others before each place
    np.cumsum(weights[:, others], axis=1, out=below[:, 1:])
    above = weights[:, own].astype(np.float64)
    level, beyond = (np.searchsorted(sure[others], sure[own], side) for side in ("left", "right"))
    beaten = above * (below[:, level] + below[:, beyond]) / 2
    return _ratio(beaten.sum(axis=1), above.sum(axis=1) * below[:, -1])


def class_scores(
    logits: Floats, truth: NDArray[np.int64]
) -> Iterator[tuple[int, float, float, float]]:
    """Of each class its examples, and precision, recall and F1 of the answers; NaN if undefined."""
    answers, outputs = logits.argmax(axis=1), logits.shape[1]
    there = np.bincount(truth, minlength=outputs)
    answered = np.bincount(answers, minlength=outputs)
    hits = np.bincount(truth[answers == truth], minlength=outputs)
    precision, recall = _ratio(hits, answered), _ratio(hits, there)
    f1 = _ratio(2.0 * hits, there + answered)
    rows = zip(there.tolist(), precision.tolist(), recall.tolist(), f1.tolist(), strict=True)
    yield from rows
