"""Answers compared with the labels that a file of new examples holds."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from bdistil.data.label_columns import indicators
from bdistil.data.labels import class_indices
from bdistil.names import METRIC, Task
from bdistil.runtime.manifest import Manifest
from bdistil.runtime.r_squared import r_squared
from bdistil.runtime.values import as_text, missing_values, numbers_or_nan

UNKNOWN: dict[str, str] = {
    "classification": "no class that training knew",
    "multilabel": "none of 0, 1, true and false",
    "regression": "no number",
}
"""What a label is with which an answer cannot be compared."""


class Comparison(NamedTuple):
    """How good answers are.

    Attributes:
        metric: accuracy, micro F1 or R² on the rows whose labels can be compared with; None
            without any, and where R² says nothing as these are all alike.
        name: which of them.
        rows: how many rows these are.
        left_out: a sentence on labels that are there and cannot be compared with; empty if all
            can.
    """

    metric: float | None
    name: str
    rows: int
    left_out: str = ""


def compared(manifest: Manifest, values: NDArray[Any], labels: NDArray[Any]) -> Comparison:
    """Compare the answers of an ensemble with what a file says.

    Args:
        manifest: of the ensemble.
        values: the answers, (N,) or (N, L).
        labels: raw, (N,) or (N, L); some may be missing or unknown.
    """
    name, truth = METRIC[cast(Task, manifest.task)], _truth(manifest, labels)
    if truth.size != values.size:
        left_out = f"labels of shape {labels.shape} do not fit answers of shape {values.shape}"
        return Comparison(None, name, 0, left_out)
    left_out = _left_out(manifest, labels, np.isnan(truth))
    truth = truth.reshape(values.shape)
    known = np.isfinite(truth).reshape(len(truth), -1).all(axis=1)
    score = _score(values[known], truth[known], manifest) if known.any() else None
    return Comparison(score, name, int(known.sum()), left_out)


def _left_out(manifest: Manifest, labels: NDArray[Any], unknown: NDArray[np.bool_]) -> str:
    """Where a label is there and yet unknown."""
    rows = unknown.reshape(len(labels), -1).any(axis=1)
    told = labels[rows][unknown[rows]] if unknown.shape == labels.shape else labels[rows]
    there = told if told.ndim > 1 else told[~missing_values(told)]
    if len(there) == 0:
        return ""
    are = "1 label is" if len(there) == 1 else f"{len(there):,} labels are"
    return f"{are} {UNKNOWN[manifest.task]}, such as {as_text(there[0])!r}"


def _score(values: NDArray[Any], truth: NDArray[Any], manifest: Manifest) -> float | None:
    """As :func:`bdistil.core.examples.metric` measures, of answers instead of logits.

    None of targets that are all alike.
    """
    if manifest.task == "classification":
        return float(np.mean(values == manifest.classes[truth.astype(int)]))
    if manifest.task == "multilabel":
        hits, total = np.sum((values > 0) & (truth > 0)), np.sum(values > 0) + np.sum(truth > 0)
        return float(2 * hits / total) if total else 1.0
    return r_squared(values, truth)


def _truth(manifest: Manifest, labels: NDArray[Any]) -> NDArray[np.floating]:
    """What is known of the right answers; NaN for what is not."""
    if manifest.task == "classification":
        indices = class_indices(labels, manifest.names)
        return np.where(indices < 0, np.nan, indices)
    return indicators(labels) if manifest.task == "multilabel" else numbers_or_nan(labels)
