"""What a search works on: standardised splits and the teacher's logits, as numpy for Ray.

The training split is read shard by shard, on its way to the object store; the driver never holds
more of it than the data set that it was loaded as, and drops that.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bdistil.core.ensemble import ROWS, chunks
from bdistil.core.examples import Examples
from bdistil.core.losses import Task
from bdistil.data.dataset import Dataset, Split

SHARD_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Part:
    """One split, ready for training.

    Attributes:
        inputs: standardised features, float32 (N, ...).
        teacher: g, centred for classification, float32 (N, L).
        labels: int64 class indices (N,), or targets or 0 and 1, float32 (N, L).
    """

    inputs: NDArray[np.float32]
    teacher: NDArray[np.float32]
    labels: NDArray[Any]

    def examples(self) -> Examples:
        """The split before round 1, in the same memory."""
        inputs, teacher, labels = map(as_tensor, (self.inputs, self.teacher, self.labels))
        return Examples.before_round_one(inputs, teacher, labels)

    def __len__(self) -> int:
        return len(self.inputs)

    def shards(self) -> list[Part]:
        """The split in shards (see :func:`shard_rows`), in the same memory."""
        return [
            Part(self.inputs[rows], self.teacher[rows], self.labels[rows])
            for rows in shard_rows(*self.teacher.shape)
        ]


def shard_rows(examples: int, outputs: int) -> Iterator[slice]:
    """Consecutive rows whose margin takes about :data:`SHARD_BYTES` each.

    The cut depends on the shape alone, so every resumed run cuts alike.
    """
    return chunks(examples, max(ROWS, SHARD_BYTES // (outputs * 4) // ROWS * ROWS))


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
    def of(cls, task: Task, teacher: Iterable[NDArray[np.float32]], validation: Part) -> Problem:
        """The problem whose teacher has these logits on the shards of the training split."""
        rows, largest, means = [], [], []
        for logits in teacher:
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
        return int(self.validation.teacher.shape[1])


def as_tensor(array: NDArray[Any]) -> Tensor:
    """A tensor that shares the array's memory, which may be read-only (object store)."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not writable.*")  # nothing here writes to it
        return torch.from_numpy(array)


@dataclass(frozen=True)
class TargetScale:
    """Affine map from standardised regression targets to raw ones; the identity for labels.

    Attributes:
        scale: float32 (L,).
        shift: float32 (L,).
    """

    scale: NDArray[np.float32]
    shift: NDArray[np.float32]

    @classmethod
    def of(cls, dataset: Dataset) -> TargetScale:
        """The map that the training split's targets call for."""
        if dataset.task != "regression":
            ones = np.ones(dataset.outputs, np.float32)
            return cls(ones, np.zeros_like(ones))
        spread = dataset.train.y.std(axis=0)
        return cls(np.where(spread > 0, spread, 1).astype(np.float32), dataset.train.y.mean(axis=0))

    def standardise(self, targets: NDArray[Any]) -> NDArray[Any]:
        """Targets (N, L) in units of the training split; labels stay as they are."""
        if targets.ndim == 1:
            return targets
        scaled: NDArray[np.float32] = ((targets - self.shift) / self.scale).astype(np.float32)
        return scaled


def build_problem(dataset: Dataset, logits: dict[str, NDArray[np.float32]]) -> Problem:
    """What a search may see of a data set, with the teacher's logits of each split."""
    teacher = logits["train"]
    shards = (teacher[rows] for rows in shard_rows(*teacher.shape))
    split = dataset.validation
    labels = TargetScale.of(dataset).standardise(split.y)
    validation = Part(standardised(dataset, split), logits["validation"], labels)
    return Problem.of(dataset.task, shards, validation)


def training_shards(dataset: Dataset, logits: dict[str, NDArray[np.float32]]) -> Iterator[Part]:
    """The training split, shard by shard; lets go of the data set after the last one."""
    train, teacher, targets = dataset.train, logits["train"], TargetScale.of(dataset)
    for rows in shard_rows(*teacher.shape):
        split = Split(train.x[rows], train.y[rows])
        yield Part(standardised(dataset, split), teacher[rows], targets.standardise(split.y))


def standardised(dataset: Dataset, split: Split) -> NDArray[np.float32]:
    """The split's features under the training split's standardisation, float32."""
    rule = dataset.standardisation
    features: NDArray[np.float32] = split.x - rule.shift
    features /= rule.scale
    return np.ascontiguousarray(features, dtype=np.float32)
