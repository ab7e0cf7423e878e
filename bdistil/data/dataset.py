"""The one form in which every data set reaches the rest of bdistil."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdistil.data.data_card import DataCard
from bdistil.names import ClassType, Domain, Layout, Task
from bdistil.runtime.columns import TableColumns


@dataclass(frozen=True)
class Split:
    """Examples of one split.

    Attributes:
        x: features, shape (N, *input_shape), raw: not yet standardised; float32, or uint8 backed by
            a file where the photographs are too many for the memory.
        y: labels, int64 class indices of shape (N,), or float32 of shape (N, L): targets, or 0 and
            1 where an example has several labels.
        teacher_outputs: a teacher's outputs that came with the data, float32 (N, L), or None.
        weights: how much each example counts in training and selection, float32 (N,), of mean 1
            over the training split; None if all count alike.
        groups: which group of `data.group`, such as a speaker, each example is of, int64 (N,); None
            if that is not known.
    """

    x: NDArray[np.float32] | NDArray[np.uint8]
    y: NDArray[Any]
    teacher_outputs: NDArray[np.float32] | None = None
    weights: NDArray[np.float32] | None = None
    groups: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: slice | NDArray[np.int64]) -> Split:
        """Some of the examples, without a teacher's outputs."""
        weights = None if self.weights is None else self.weights[rows]
        groups = None if self.groups is None else self.groups[rows]
        return Split(self.x[rows], self.y[rows], weights=weights, groups=groups)


@dataclass(frozen=True)
class Standardisation:
    """An affine map of the features, (x - shift) / scale, fitted on the training split.

    Attributes:
        shift: float32, broadcastable to one example's shape.
        scale: float32, broadcastable to one example's shape, never zero.
    """

    shift: NDArray[np.float32]
    scale: NDArray[np.float32]


@dataclass(frozen=True)
class Dataset:
    """A data set in three splits; only `train` and `validation` may guide a search.

    Attributes:
        name: the data set's or the file's name.
        domain: decides which students and teachers fit the input; one example is shaped
            (features,) if tabular, (channels, height, width) if an image and (time, features) if
            a sequence.
        task: classification (labels are class indices), regression, or multilabel (each of L
            labels holds or not).
        outputs: L, the number of classes, of labels or of regression targets.
        class_names: the classes or labels as the user wrote them, in index order; None for
            regression.
        class_type: what the labels of the classes were.
        standardisation: belongs to the networks, which apply it to raw features.
        columns: how a user's table becomes `x`, None for other sources.
        form: how photographs or recordings become `x`, None for other sources: `medium`, the fields
            of its form and, of a table, its columns `column` and `label`.
        layout: what the axes of a user's arrays mean, if that was said (`data.layout`).
        padding: value of the steps that stand in front of shorter sequences, so that their end
            comes last; None if all are of full length.
        card: what was read and how, None for arrays in memory.
        teacher_seconds: that one example takes the teacher whose outputs the splits hold; None if
            that is not known.
    """

    name: str
    domain: Domain
    task: Task
    train: Split
    validation: Split
    test: Split
    outputs: int
    standardisation: Standardisation
    class_names: tuple[str, ...] | None = None
    class_type: ClassType = "text"
    columns: TableColumns | None = None
    form: Mapping[str, Any] | None = None
    layout: Layout | None = None
    padding: float | None = None
    card: DataCard | None = None
    teacher_seconds: float | None = None

    @property
    def is_recorded(self) -> bool:
        """Whether the examples are recordings of sound."""
        return self.domain == "sequence" and self.form is not None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example, without the batch dimension."""
        return self.train.x.shape[1:]

    @cached_property
    def sha256(self) -> str:
        """Hash of every example and label, by which a changed file is noticed."""
        digest = hashlib.sha256()
        for split in (self.train, self.validation, self.test):
            for array in (split.x, split.y, split.teacher_outputs, split.weights):
                if array is not None:
                    digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()
