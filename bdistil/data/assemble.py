"""From features, labels and a split to a Dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bdistil.data.dataset import Dataset, Split
from bdistil.data.labels import task_of
from bdistil.data.split import SplitIndices, split_indices, stratified_order
from bdistil.data.standardise import fit_standardisation
from bdistil.names import ClassType, Domain
from bdistil.runtime.columns import TableColumns

Limit = Annotated[int, Field(ge=2)]
"""An option of a loader: at most so many training examples."""


def assemble(
    name: str,
    domain: Domain,
    x: NDArray[np.float32] | Sequence[NDArray[Any]],
    y: NDArray[Any],
    indices: SplitIndices,
    *,
    class_names: tuple[str, ...] | None,
    class_type: ClassType = "text",
    teacher_outputs: NDArray[np.float32] | None = None,
    columns: TableColumns | None = None,
    padding: float | None = None,
    weights: NDArray[np.float32] | None = None,
    groups: NDArray[np.int64] | None = None,
) -> Dataset:
    """Cut arrays into splits and fit the standardisation on the training rows.

    Args:
        name: the data set's name.
        domain: the kind of input.
        x: features of all rows, float32 (N, *input_shape), or those of each split.
        y: int64 class indices (N,), or float32 (N, L): targets, or labels 0 and 1.
        indices: rows of each split.
        class_names: the classes or labels in index order; None makes the task regression.
        class_type: what the labels of the classes were.
        teacher_outputs: a teacher's outputs, float32 (N, L).
        columns: what made `x` of a table.
        padding: see Dataset.
        weights: of all rows, float32 (N,).
        groups: of all rows, their numbers (N,).
    """

    def beside(values: NDArray[Any] | None, rows: NDArray[np.int64]) -> NDArray[Any] | None:
        return None if values is None else values[rows]

    features = [x[rows] for rows in indices] if isinstance(x, np.ndarray) else x
    train, validation, test = (
        Split(own, y[rows], *(beside(each, rows) for each in (teacher_outputs, weights, groups)))
        for own, rows in zip(features, indices, strict=True)
    )
    return Dataset(
        name=name,
        domain=domain,
        task=task_of(y, class_names),
        train=train,
        validation=validation,
        test=test,
        outputs=y.shape[1] if class_names is None else len(class_names),
        standardisation=fit_standardisation(train.x, domain),
        class_names=class_names,
        class_type=class_type,
        columns=columns,
        padding=padding,
    )


def with_teacher_outputs(
    dataset: Dataset,
    outputs: NDArray[np.float32],
    indices: SplitIndices,
    seconds: float | None = None,
) -> Dataset:
    """The same data set with a teacher's outputs on all rows, float32 (N, L).

    Args:
        dataset: without them.
        outputs: in the order of the rows.
        indices: the rows of each split.
        seconds: that one example takes the teacher; None if that is not known.
    """
    splits = {
        name: replace(getattr(dataset, name), teacher_outputs=outputs[rows])
        for name, rows in indices._asdict().items()
    }
    return replace(dataset, **splits, teacher_seconds=seconds)


def assemble_published(
    name: str,
    domain: Domain,
    train: Split,
    test: Split,
    *,
    class_names: tuple[str, ...],
    validation: float,
    seed: int,
    padding: float | None = None,
    examples: int | None = None,
) -> Dataset:
    """Keep the publishers' test split and cut validation from their training split.

    Args:
        name: the data set's name.
        domain: the kind of input.
        train: the published training examples, labels int64 (N,).
        test: the published test examples.
        class_names: the classes in index order.
        validation: share of the published training examples.
        seed: of the cut.
        padding: what stands in front of shorter sequences, None if all are of full length.
        examples: at most so many of the published training examples, drawn by `seed` with the
            classes in proportion; None takes all.

    Raises:
        DataError: if a class has fewer than two training examples.
    """
    if examples is not None:
        rows = np.sort(stratified_order(train.y, len(class_names), seed)[:examples])
        train = Split(train.x[rows], train.y[rows])
    kept, held_out, _ = split_indices(
        train.y, class_names, validation=validation, test=0, seed=seed
    )
    cut = Split(train.x[held_out], train.y[held_out])
    train = Split(train.x[kept], train.y[kept])
    return from_splits(name, domain, train, cut, test, class_names, padding)


def from_splits(
    name: str,
    domain: Domain,
    train: Split,
    validation: Split,
    test: Split,
    class_names: tuple[str, ...],
    padding: float | None = None,
) -> Dataset:
    """A classification data set from splits that are cut already; for `padding` see Dataset."""
    return Dataset(
        name=name,
        domain=domain,
        task="classification",
        train=train,
        validation=validation,
        test=test,
        outputs=len(class_names),
        standardisation=fit_standardisation(train.x, domain),
        class_names=class_names,
        padding=padding,
    )
