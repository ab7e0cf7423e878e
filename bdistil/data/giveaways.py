"""Columns of a table that tell the label by themselves, maybe as they were filled in after it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdistil.data.dataset import Dataset, Split
from bdistil.data.split import evenly_spread
from bdistil.files.wording import some
from bdistil.runtime.columns import FeatureColumn

MOST_VALUES, MOST_ROWS = 2**24, 2**17  # that are looked at, evenly over all rows
ERROR_LEFT = 0.02
"""Share of the best guess's error on validation that a column which gives the label away leaves."""
FEWEST_ERRORS = 20
"""Of the best guess: where it errs less often, a column may be right by chance."""

Codes = NDArray[np.int64]


def giveaways(dataset: Dataset, ignored: Sequence[str] = ()) -> Iterator[str]:
    """A sentence that names such columns, if there are any.

    A column is asked alone: each of its values is answered by the commonest class, or the mean, of
    the training rows that have it, or the number next to it; numbers by a straight line, too.

    Args:
        dataset: any, of which only tables are looked at.
        ignored: columns that `data.ignore` names already.
    """
    if dataset.columns is None or dataset.domain != "tabular" or dataset.task == "multilabel":
        return
    if dataset.task == "regression" and dataset.outputs > 1:
        return
    train, validation = (_some_rows(split) for split in (dataset.train, dataset.validation))
    found, start = [], 0
    for column in dataset.columns.features:
        own = slice(start, start := start + column.width)
        if column.size:  # no value of which is the label's
            continue
        if _tells(dataset, column, train.x[:, own], validation.x[:, own], train.y, validation.y):
            found.append(column.name)
    if found:
        label = some(dataset.columns.labels)
        alone, it = ("alone tells", "it is") if len(found) == 1 else ("each alone tell", "they are")
        remedy = f"data.ignore={json.dumps([*ignored, *found], ensure_ascii=False)}"
        yield (
            f"{some(found)} {alone} {label} on validation: if {it} known only afterwards, leave "
            f"out what gives it away ({shlex.quote(remedy)})"
        )


def _some_rows(split: Split) -> Split:
    most = min(MOST_ROWS, max(1, MOST_VALUES // split.x.shape[1]))
    return split.take(evenly_spread(len(split), most))


def _tells(
    dataset: Dataset,
    column: FeatureColumn,
    train: NDArray[Any],
    validation: NDArray[Any],
    y: NDArray[Any],
    truth: NDArray[Any],
) -> bool:
    codes = _codes(column, train, validation)
    if dataset.task != "regression":
        return _tells_classes(*codes, y, truth, dataset.outputs)
    answers = [_means(*codes, y[:, 0])]
    if column.categories is None:
        answers.append(_line(train[:, 0].astype(np.float64), validation[:, 0], y[:, 0]))
    left = min(np.square(truth[:, 0] - answer).mean() for answer in answers)
    return bool(left <= ERROR_LEFT * truth.var())


def _line(
    train: NDArray[np.float64], validation: NDArray[Any], y: NDArray[Any]
) -> NDArray[np.float64]:
    """Answers of the straight line with the least squares; the mean if the column is constant."""
    apart, variance = train - train.mean(), train.var()
    slope = (apart * (y - y.mean())).mean() / variance if variance > 0 else 0.0
    answers: NDArray[np.float64] = y.mean() + slope * (validation - train.mean())
    return answers


def _codes(
    column: FeatureColumn, train: NDArray[Any], validation: NDArray[Any]
) -> tuple[Codes, Codes]:
    """A code for each value of a column; of numbers that of the nearest one in training."""
    if column.categories is not None:
        return _categories(train), _categories(validation)
    known = np.unique(train[:, 0]).astype(np.float64)
    halfway = (known[1:] + known[:-1]) / 2

    def codes(x: NDArray[Any]) -> Codes:
        missing = x[:, -1].astype(np.int64) if column.missing else 0
        found: Codes = 2 * np.searchsorted(halfway, x[:, 0]) + missing
        return found

    return codes(train), codes(validation)


def _categories(one_hot: NDArray[Any]) -> Codes:
    codes: Codes = np.where(one_hot.any(axis=1), one_hot.argmax(axis=1) + 1, 0)
    return codes


def _tells_classes(
    train: Codes, validation: Codes, y: NDArray[Any], truth: NDArray[Any], classes: int
) -> bool:
    counts = np.zeros((max(train.max(), validation.max()) + 1, classes))
    np.add.at(counts, (train, y), 1)
    commonest = counts.sum(axis=0).argmax()
    answers = np.where(counts.any(axis=1), counts.argmax(axis=1), commonest)[validation]
    errors = int((truth != commonest).sum())
    return errors >= FEWEST_ERRORS and int((truth != answers).sum()) <= ERROR_LEFT * errors


def _means(train: Codes, validation: Codes, y: NDArray[Any]) -> NDArray[np.float64]:
    count = max(train.max(), validation.max()) + 1
    rows = np.bincount(train, minlength=count)
    means = np.bincount(train, y, count) / rows.clip(1)
    answers: NDArray[np.float64] = np.where(rows > 0, means, y.mean())[validation]
    return answers
