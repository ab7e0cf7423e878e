"""What a search works on: standardised splits and the teacher's logits, as numpy for Ray.

The training split is read shard by shard, on its way to the object store; the driver never holds
more of it than the data set that it was loaded as, and drops that. Features that are mapped from a
file are standardised into another one, and only its path travels (:class:`MappedPart`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdistil.core.examples import Examples
from bdistil.core.progressive_ensemble import ROWS, chunks
from bdistil.core.tensors import as_tensor
from bdistil.core.views import ViewMaker, Views
from bdistil.data.dataset import Dataset, Split
from bdistil.data.standardise import TargetScale, standardised, standardised_file
from bdistil.errors import ClusterError
from bdistil.files.array_files import mapped
from bdistil.names import Task
from bdistil.teachers.teacher_store import VIEWS, Logits

SHARD_BYTES = 64 * 2**20
INPUT_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Part:
    """One split, ready for training.

    Attributes:
        inputs: standardised features, float32 (N, ...).
        teacher_logits: g, centred for classification, float32 (N, L).
        labels: int64 class indices (N,), or targets or 0 and 1, float32 (N, L).
        views: of the training split, how its copies are made and the teacher's answers to them,
            float16 (K, N, L); None if students are trained on the rows themselves.
        weights: of the examples, float32 (N,); None weighs all alike.
    """

    inputs: NDArray[np.float32]
    teacher_logits: NDArray[np.float32]
    labels: NDArray[Any]
    views: tuple[ViewMaker, NDArray[np.float16]] | None = None
    weights: NDArray[np.float32] | None = None

    def examples(self) -> Examples:
        """The split before round 1, in the same memory."""
        inputs, teacher_logits, labels = map(
            as_tensor, (self.inputs, self.teacher_logits, self.labels)
        )
        views = None
        if self.views is not None:
            maker, answers = self.views
            views = Views(maker, as_tensor(answers))
        weights = None if self.weights is None else as_tensor(self.weights)
        return Examples.before_round_one(inputs, teacher_logits, labels, views, weights)

    def __len__(self) -> int:
        return len(self.inputs)

    def shards(self) -> list[Part]:
        """The split in shards (see :func:`shard_rows`), in the same memory."""
        outputs, features = self.teacher_logits.shape[1], math.prod(self.inputs.shape[1:])
        weights = self.weights
        return [
            Part(
                self.inputs[rows],
                self.teacher_logits[rows],
                self.labels[rows],
                weights=None if weights is None else weights[rows],
            )
            for rows in shard_rows(len(self), outputs, features)
        ]


@dataclass(frozen=True)
class MappedPart(Part):
    """A part whose inputs lie in a file: it travels as a path, and who receives it maps the rows.

    Attributes:
        file: an NPY file of standardised features.
        rows: of it, that are `inputs`.
    """

    file: Path = field(kw_only=True)
    rows: slice = field(kw_only=True)

    def __reduce__(self) -> tuple[Any, ...]:
        return open_part, (self.file, self.rows, *self.beside)

    def unmapped(self) -> Part:
        """The same as a part that travels as bytes."""
        return Part(np.array(self.inputs), *self.beside)

    @property
    def beside(self) -> tuple[Any, ...]:
        """What it has beside its inputs, as :class:`Part` takes it."""
        return self.teacher_logits, self.labels, self.views, self.weights


def open_part(
    file: Path,
    rows: slice,
    teacher_logits: NDArray[np.float32],
    labels: NDArray[Any],
    views: tuple[ViewMaker, NDArray[np.float16]] | None = None,
    weights: NDArray[np.float32] | None = None,
) -> MappedPart:
    """Map the inputs of a part.

    Raises:
        ClusterError: if the file cannot be read here.
    """
    try:
        inputs = mapped(file)[rows]
    except (OSError, ValueError):
        raise ClusterError(
            f"{file} cannot be read on this node; put the data and their cache (BDISTIL_CACHE) "
            f"where every node sees them."
        ) from None
    return MappedPart(inputs, teacher_logits, labels, views, weights, file=file, rows=rows)


def shard_rows(examples: int, outputs: int, features: int = 1) -> Iterator[slice]:
    """Consecutive rows whose margin takes about :data:`SHARD_BYTES`, inputs :data:`INPUT_BYTES`.

    Batches are drawn within a shard, so inputs on disk are read a shard at a time. The cut depends
    on shapes alone, so every resumed run cuts alike.
    """
    rows = min(SHARD_BYTES // (outputs * 4), INPUT_BYTES // (features * 4))
    return chunks(examples, max(ROWS, rows // ROWS * ROWS))


@dataclass(frozen=True)
class Problem:
    """What a search knows of its data, without the training split's rows; no test split either.

    Attributes:
        task: classification, regression or multilabel.
        examples: N, rows of the training split.
        bound: max|g| on the training split, in logits.
        scale: mean|g| on the training split, in logits.
        validation: the split that decides on gains.
    """

    task: Task
    examples: int
    bound: float
    scale: float
    validation: Part

    @classmethod
    def of(
        cls, task: Task, teacher_logits: Iterable[NDArray[np.float32]], validation: Part
    ) -> Problem:
        """The problem whose teacher has these logits on the shards of the training split."""
        rows, largest, means = [], [], []
        for logits in teacher_logits:
            size = np.abs(logits)
            rows.append(len(size))
            largest.append(float(size.max()))
            means.append(float(size.mean()))
        scale = float(np.average(means, weights=rows))
        return cls(task, sum(rows), max(largest), scale, validation)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        return self.validation.inputs.shape[1:]

    @property
    def outputs(self) -> int:
        """L."""
        return int(self.validation.teacher_logits.shape[1])


def build_problem(dataset: Dataset, logits: dict[str, NDArray[np.float32]]) -> Problem:
    """What a search may see of a data set, with the teacher's logits of each split."""
    teacher_logits = logits["train"]
    shards = (teacher_logits[rows] for rows in rows_of_shards(dataset))
    everything = slice(0, len(dataset.validation))
    validation = part_of(dataset, dataset.validation, logits["validation"], everything)
    return Problem.of(dataset.task, shards, validation)


def training_shards(
    dataset: Dataset, logits: Logits, makers: Sequence[ViewMaker] = ()
) -> Iterator[Part]:
    """The training split, shard by shard; lets go of the data set after the last one.

    Args:
        dataset: the data.
        logits: the teacher's of the training split and, with `makers`, of the copies.
        makers: of each shard's copies; none if students are trained on the rows themselves.
    """
    for index, rows in enumerate(rows_of_shards(dataset)):
        part = part_of(dataset, dataset.train, logits["train"], rows)
        if makers:
            part = replace(part, views=(makers[index], logits[VIEWS][:, rows]))
        yield part


def rows_of_shards(dataset: Dataset) -> Iterator[slice]:
    """The training split's rows in each shard."""
    return shard_rows(len(dataset.train), dataset.outputs, math.prod(dataset.input_shape))


def part_of(
    dataset: Dataset, split: Split, teacher_logits: NDArray[np.float32], rows: slice
) -> Part:
    """Some rows of a split with the teacher's logits for the split."""
    own = split.take(rows)
    labels = TargetScale.of(dataset).standardise(own.y)
    file = standardised_file(dataset, split)
    if file is not None:
        return open_part(file, rows, teacher_logits[rows], labels, weights=own.weights)
    return Part(standardised(dataset, own), teacher_logits[rows], labels, weights=own.weights)
