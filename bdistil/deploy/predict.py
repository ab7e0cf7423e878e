"""Predictions for a file of examples."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bdistil.core.examples import metric
from bdistil.data.columns import TableColumns, read_features
from bdistil.data.labels import class_indices
from bdistil.data.values import numbers_or_nan
from bdistil.deploy.ensemble import Ensemble

BATCH = 4096


@dataclass(frozen=True)
class Predictions:
    """Answers for each row of a file.

    Attributes:
        header: names of the columns of `rows`.
        rows: the answer and, for classification, its probability.
        metric: accuracy or R² on the rows with a label that training knew; None without any.
        metric_name: which of the two.
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
    columns = ensemble.config.columns
    x, labels = read_features(data, None if columns is None else TableColumns(**columns))
    logits = batched_logits(ensemble, ensemble.as_inputs(x), stages)
    if ensemble.config.class_names is None:
        return target_predictions(logits, labels)
    return class_predictions(logits, labels, ensemble.config.class_names)


def target_predictions(logits: Tensor, labels: NDArray[Any] | None) -> Predictions:
    """Predicted targets; rows whose label is no number are not compared."""
    header = ["prediction"] if logits.shape[1] == 1 else _numbered(logits.shape[1])
    truth = torch.full_like(logits, torch.nan)
    if labels is not None and labels.size == truth.numel():
        truth = torch.as_tensor(numbers_or_nan(labels)).reshape(truth.shape)
    known = torch.isfinite(truth).all(dim=1)
    score = metric(logits[known], truth[known], "regression") if known.any() else None
    return Predictions(header, logits.tolist(), score, "R²", int(known.sum()))


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


def _numbered(count: int) -> list[str]:
    return [f"prediction_{index}" for index in range(count)]
