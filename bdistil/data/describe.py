"""The card of a data set, counted from what was read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bdistil.data.data_card import ColumnNote, DataCard
from bdistil.data.dataset import Dataset
from bdistil.files.parts import SPLITS
from bdistil.files.wording import some


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
        guess_metric=float(score),
        columns=tuple(columns),
        form=form,
        notes=tuple(notes),
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


def _guess(dataset: Dataset) -> tuple[str, float]:
    """The best answers without features, in words, and their metric on test."""
    train, test = dataset.train.y, dataset.test.y
    if dataset.task == "regression":
        squares = np.square(test - train.mean(axis=0)).mean(axis=0)
        score = (1 - squares / test.var(axis=0).clip(1e-12)).mean()
        error = some([f"{value:.4g}" for value in np.sqrt(squares)])
        return f"the mean, root mean square error {error}", score
    if dataset.task == "multilabel":
        common = train.mean(axis=0) > 0.5
        hits, total = (test * common).sum(), test.sum() + common.sum() * len(test)
        return "the labels that most rows have", 2 * hits / max(total, 1)
    assert dataset.class_names is not None
    most = int(np.bincount(train).argmax())
    return f"always {dataset.class_names[most]}", (test == most).mean()
