"""Predictions for a file of examples, by the predictor, compared with the labels it may hold.

Without torch, since devices run it too; what decodes the file is asked for where it is needed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from bdistil.data.label_columns import indicators
from bdistil.data.labels import class_indices
from bdistil.data.new_examples import NewExamples, read_new_examples
from bdistil.errors import SpecError
from bdistil.names import METRIC, Task
from bdistil.runtime.answer import Answer
from bdistil.runtime.manifest import Manifest
from bdistil.runtime.predictor import Predictor
from bdistil.runtime.values import as_text, missing_values, numbers_or_nan

TELL_SECONDS = 10.0
"""Between two sentences of how far it is."""


@dataclass(frozen=True)
class Predictions:
    """Answers for each row of a file.

    Attributes:
        header: names of the columns of `rows`.
        rows: the answer and, for classification, its calibrated probability; of each label if
            there are several.
        metric: accuracy, micro F1 or R² on the rows with labels that training knew; None without
            any.
        metric_name: which of them.
        compared: how many rows these are.
        asked: how many rows the teacher answered.
        stages: students that each row was shown to.
    """

    header: list[str]
    rows: list[list[Any]]
    metric: float | None
    metric_name: str
    compared: int
    asked: int = 0
    stages: tuple[int, ...] = ()


def predict_file(
    source: str | Path,
    data: Path,
    stages: int | None = None,
    *,
    deadline: float | str | None = None,
    exit: str | None = None,
    budget: float | str | None = None,
    every_class: bool = False,
    keep: Sequence[str] = (),
    ask_teacher: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> Predictions:
    """Run a saved ensemble over a file or folder as the search took it, of new examples.

    Args:
        source: a saved ensemble or a run directory.
        data: the file; labels, if there, are only compared with.
        stages: students to run; None runs all.
        deadline: as of :meth:`~bdistil.runtime.predictor.Predictor.answer`, for each batch of rows.
        exit: likewise, the name of a score.
        budget: as of :meth:`~bdistil.runtime.predictor.Predictor.predict_batch`.
        every_class: give the probability of each class instead of that of the answer.
        keep: columns of the file to stand before the answers.
        ask_teacher: ask the teacher that was exported with the ensemble about unsure rows.
        tell: takes a sentence now and then, of how many rows are answered.

    Raises:
        CheckpointError: if the ensemble cannot be read.
        DataError: if the file does not fit it, or there is no such stage.
        SpecError: if more than one of `stages`, `deadline`, `exit` and `budget` is given, or the
            ensemble has no such probabilities.
    """
    predictor = Predictor(source, teacher=True if ask_teacher else None)
    manifest = predictor.manifest
    if every_class and manifest.task != "classification":
        raise SpecError("probabilities of every class are for classification; leave out --proba.")
    if sum(each is not None for each in (stages, deadline, exit, budget)) > 1:
        raise SpecError("give one of stages, deadline, exit and budget, not several.")
    if ask_teacher and any(each is not None for each in (stages, deadline, budget)):
        raise SpecError("the teacher is asked after the last stage; leave the other way out.")
    new = read_new_examples(data, manifest, keep)
    header = _header(manifest, every_class)
    twice = sorted({*new.beside} & {*header})
    if twice:
        raise SpecError(f"--keep names {twice[0]!r}, as a column of the answers is called.")

    def answered(x: NDArray[np.float32]) -> Answer:
        if budget is not None:
            return predictor.predict_batch(x, budget)
        return predictor.answer(x, stages=stages, deadline=deadline, exit=exit)

    answers = [answered(x) for x in counted(new, tell)]
    values = np.concatenate([answer.values for answer in answers])
    found = [answer.probabilities for answer in answers if answer.probabilities is not None]
    probabilities = np.concatenate(found) if found else None
    rows = _rows(values, probabilities, every_class)
    if new.beside:
        kept = zip(*(map(_cell, column) for column in new.beside.values()), strict=True)
        rows = [[*cells, *row] for cells, row in zip(kept, rows, strict=True)]
    header = [*new.beside, *header]
    asked = sum(int(answer.asked.sum()) for answer in answers if answer.asked is not None)
    reached = tuple(int(stage) for answer in answers for stage in answer.stages)
    return Predictions(header, rows, *_compared(manifest, values, new.labels), asked, reached)


def counted(new: NewExamples, tell: Callable[[str], None]) -> Iterator[NDArray[np.float32]]:
    """The batches; tells every so many seconds how many rows have been read and answered."""
    rows, told = 0, time.monotonic()
    total = "".join(f" of {len(column):,}" for column in islice(new.beside.values(), 1))
    for x in new.batches:
        yield x
        rows += len(x)
        if time.monotonic() - told >= TELL_SECONDS:
            tell(f"{rows:,}{total} rows answered")
            told = time.monotonic()


def _cell(value: Any) -> str:
    """A value as people write it; nothing for a missing one."""
    return "" if missing_values(np.array([value, None], object))[0] else as_text(value)


def _header(manifest: Manifest, every_class: bool) -> list[str]:
    if every_class:
        return ["prediction", *(f"probability_{name}" for name in manifest.names)]
    if manifest.task == "classification":
        return ["prediction", "probability"]
    if manifest.task == "multilabel":
        return [f"{kind}_{n}" for kind in ("prediction", "probability") for n in manifest.names]
    return ["prediction"] if manifest.outputs == 1 else [f"prediction_{n}" for n in manifest.names]


def _rows(
    values: NDArray[Any], probabilities: NDArray[np.floating] | None, every_class: bool
) -> list[list[Any]]:
    columns = values.reshape(len(values), -1)
    if probabilities is None:
        return columns.tolist()
    if values.ndim == 1 and not every_class:
        probabilities = probabilities.max(axis=1, keepdims=True)
    pairs = zip(columns.tolist(), probabilities.tolist(), strict=True)
    return [[*answers, *(f"{p:.6g}" for p in sure)] for answers, sure in pairs]


def _compared(
    manifest: Manifest, values: NDArray[Any], labels: NDArray[Any] | None
) -> tuple[float | None, str, int]:
    """The metric on rows whose truth is known, its name and how many rows these are."""
    task = cast(Task, manifest.task)
    truth = None if labels is None else _truth(manifest, labels)
    if truth is None or truth.size != values.size:
        return None, METRIC[task], 0
    truth = truth.reshape(values.shape)
    known = np.isfinite(truth).reshape(len(truth), -1).all(axis=1)
    score = _score(values[known], truth[known], manifest) if known.any() else None
    return score, METRIC[task], int(known.sum())


def _score(values: NDArray[Any], truth: NDArray[Any], manifest: Manifest) -> float:
    """As :func:`bdistil.core.examples.metric` measures, of answers instead of logits."""
    if manifest.task == "classification":
        return float(np.mean(values == manifest.classes[truth.astype(int)]))
    if manifest.task == "multilabel":
        hits, total = np.sum((values > 0) & (truth > 0)), np.sum(values > 0) + np.sum(truth > 0)
        return float(2 * hits / total) if total else 1.0
    residual = np.square(values - truth).sum(axis=0, dtype=float)
    spread = np.square(truth - truth.mean(axis=0)).sum(axis=0, dtype=float)
    return float(np.mean(1 - residual / np.maximum(spread, 1e-12)))  # also of constant targets


def _truth(manifest: Manifest, labels: NDArray[Any]) -> NDArray[np.floating]:
    """What is known of the right answers; NaN for what is not."""
    if manifest.task == "classification":
        indices = class_indices(labels, manifest.names)
        return np.where(indices < 0, np.nan, indices)
    return indicators(labels) if manifest.task == "multilabel" else numbers_or_nan(labels)
