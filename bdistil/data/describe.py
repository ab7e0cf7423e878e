"""The card of a data set, counted from what was read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdistil.data.data_card import ColumnNote, DataCard
from bdistil.data.dataset import Dataset
from bdistil.files.parts import SPLITS
from bdistil.files.wording import some
from bdistil.runtime.r_squared import r_squared
from bdistil.words import counted


def describe(
    dataset: Dataset,
    source: str,
    how: str,
    columns: Sequence[ColumnNote] = (),
    notes: Sequence[str] = (),
    form: dict[str, Any] | None = None,
) -> DataCard:
    """The card of a data set; for the arguments see :class:`DataCard`."""
    guess, score = _guess(dataset)
    return DataCard(
        source=source,
        domain=dataset.domain,
        task=dataset.task,
        input_shape=dataset.input_shape,
        splits={name: len(getattr(dataset, name)) for name in SPLITS},
        how=how,
        classes=_rows_of_classes(dataset),
        guess=guess,
        guess_metric=None if score is None else float(score),
        columns=tuple(columns),
        form=form,
        notes=(*notes, *_constant_targets(dataset)),
    )


def _constant_targets(dataset: Dataset) -> Iterator[str]:
    """Of several targets those that R² leaves out, and of one that it says nothing."""
    if dataset.task != "regression":
        return
    for name in SPLITS:
        y = getattr(dataset, name).y
        alike = int((y == y[:1]).all(axis=0).sum())
        if alike == y.shape[1]:
            yield f"the targets of {name} are all alike, so that R² says nothing there"
        elif alike:
            yield (
                f"{counted(alike, 'target')} of {y.shape[1]} {'has' if alike == 1 else 'have'} one "
                f"value in {name}; R² is of the others there"
            )


def _rows_of_classes(dataset: Dataset) -> dict[str, tuple[int, int, int]] | None:
    names = dataset.class_names
    if names is None:
        return None

    def counts(name: str) -> list[int]:
        y = getattr(dataset, name).y
        counted = np.bincount(y, minlength=len(names)) if y.ndim == 1 else y.sum(axis=0)
        return [int(count) for count in counted]

    train, validation, test = map(counts, SPLITS)
    return dict(zip(names, zip(train, validation, test, strict=True), strict=True))


def _always(y: NDArray[Any]) -> NDArray[np.bool_]:
    """The labels that have the best micro F1 if every row is given them, (L,)."""
    rows = y.sum(axis=0)
    order = np.argsort(-rows, kind="stable")
    count = np.arange(1, len(rows) + 1)
    scores = 2 * np.cumsum(rows[order]) / (rows.sum() + count * len(y))
    given = np.zeros(len(rows), bool)
    given[order[: int(scores.argmax()) + 1]] = True
    return given


def _guess(dataset: Dataset) -> tuple[str, float | None]:
    """The best answers without features, in words, and their metric on test."""
    train, test = dataset.train.y, dataset.test.y
    if dataset.task == "regression":
        squares = np.square(test - train.mean(axis=0)).mean(axis=0)
        score = r_squared(np.broadcast_to(train.mean(axis=0), test.shape), test)
        error = some([f"{value:.4g}" for value in np.sqrt(squares)])
        return f"the mean, root mean square error {error}", score
    if dataset.task == "multilabel":
        given = _always(train)
        count = int(given.sum())
        hits, total = (test * given).sum(), test.sum() + count * len(test)
        return f"always the {counted(count, 'commonest label')}", 2 * hits / max(total, 1)
    assert dataset.class_names is not None
    most = int(np.bincount(train).argmax())
    return f"always {dataset.class_names[most]}", (test == most).mean()
