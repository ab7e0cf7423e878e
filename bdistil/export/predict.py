"""Predictions for a file of examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bdistil.core.examples import METRIC, metric
from bdistil.data.columns import TableColumns, read_features
from bdistil.data.label_columns import indicators
from bdistil.data.labels import class_indices
from bdistil.data.values import numbers_or_nan
from bdistil.export.ensemble import Ensemble
from bdistil.names import Task

BATCH = 4096


@dataclass(frozen=True)
class Predictions:
    """Answers for each row of a file.

    Attributes:
        header: names of the columns of `rows`.
        rows: the answer and, for classification, its probability; of each label if there are
            several.
        metric: accuracy, micro F1 or R² on the rows with labels that training knew; None without
            any.
        metric_name: which of them.
        compared: how many rows these are.
    """

    header: list[str]
    rows: list[list[Any]]
    metric: float | None
    metric_name: str
    compared: int


def predict_file(directory: Path, data: Path, stages: int | None = None) -> Predictions:
    """Run a saved ensemble over a Parquet, CSV, NPZ or NPY file.

    Args:
        directory: a saved ensemble or a run directory.
        data: the file; a label column, if there, is only compared with.
        stages: students to run; None runs all.

    Raises:
        CheckpointError: if the ensemble cannot be read.
        DataError: if the file does not fit it, or there is no such stage.
    """
    ensemble = Ensemble.from_pretrained(directory)
    content = ensemble.config.columns
    columns = None if content is None else TableColumns(**content)
    x, labels = read_features(data, columns)
    logits = batched_logits(ensemble, ensemble.as_inputs(x), stages)
    names = ensemble.config.class_names
    if names is None:
        return target_predictions(logits, labels, () if columns is None else columns.labels)
    if ensemble.config.task == "multilabel":
        return label_predictions(logits, labels, names)
    return class_predictions(logits, labels, names)


def target_predictions(
    logits: Tensor, labels: NDArray[Any] | None, names: Sequence[str]
) -> Predictions:
    """Predicted targets; rows whose label is no number are not compared."""
    count = logits.shape[1]
    names = names if len(names) == count else list(map(str, range(count)))
    header = ["prediction"] if count == 1 else [f"prediction_{name}" for name in names]
    truth = _truth(None if labels is None else numbers_or_nan(labels), logits)
    return Predictions(header, logits.tolist(), *_compared(logits, truth, "regression"))


def label_predictions(
    logits: Tensor, labels: NDArray[Any] | None, names: tuple[str, ...]
) -> Predictions:
    """Of each label whether it holds, 0 or 1, then the probabilities of all that they hold."""
    header = [f"{kind}_{name}" for kind in ("prediction", "probability") for name in names]
    rows = [
        [*(int(logit > 0) for logit in example), *(f"{p:.6g}" for p in probabilities)]
        for example, probabilities in zip(logits.tolist(), logits.sigmoid().tolist(), strict=True)
    ]
    truth = _truth(None if labels is None else indicators(labels), logits)
    return Predictions(header, rows, *_compared(logits, truth, "multilabel"))


def class_predictions(
    logits: Tensor, labels: NDArray[Any] | None, names: tuple[str, ...]
) -> Predictions:
    """Names and probabilities of the likeliest classes."""
    probability, index = logits.softmax(dim=1).max(dim=1)
    rows = [
        [names[i], f"{p:.6g}"] for i, p in zip(index.tolist(), probability.tolist(), strict=True)
    ]
    truth = np.full(len(rows), -1) if labels is None else class_indices(labels, names)
    known = truth >= 0
    score = float(np.mean(truth[known] == index.numpy()[known])) if known.any() else None
    return Predictions(["prediction", "probability"], rows, score, "accuracy", int(known.sum()))


@torch.no_grad()
def batched_logits(ensemble: Ensemble, x: Tensor, stages: int | None) -> Tensor:
    """Logits (N, L), computed a batch at a time."""
    return torch.cat([ensemble(rows, stages) for rows in x.split(BATCH)])


def _truth(numbers: NDArray[np.float32] | None, logits: Tensor) -> Tensor:
    """What is known of the right answers, float32 (N, L); NaN for what is not."""
    if numbers is None or numbers.size != logits.numel():
        return torch.full_like(logits, torch.nan)
    return torch.as_tensor(numbers).reshape(logits.shape)


def _compared(logits: Tensor, truth: Tensor, task: Task) -> tuple[float | None, str, int]:
    """The metric on rows whose truth is known, its name and how many rows these are."""
    known = torch.isfinite(truth).all(dim=1)
    score = metric(logits[known], truth[known], task) if known.any() else None
    return score, METRIC[task], int(known.sum())
