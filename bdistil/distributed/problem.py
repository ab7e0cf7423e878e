"""What a search works on: standardised splits and the teacher's logits, as numpy for Ray."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bdistil.core.ensemble import ROWS
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
        labels: int64 (N,) or float32 (N, L).
    """

    inputs: NDArray[np.float32]
    teacher: NDArray[np.float32]
    labels: NDArray[Any]

    def examples(self) -> Examples:
        """The split before round 1, in the same memory."""
        inputs, teacher, labels = map(as_tensor, (self.inputs, self.teacher, self.labels))
        return Examples.before_round_one(inputs, teacher, labels)

    def shards(self) -> list[Part]:
        """Consecutive rows whose margin takes about :data:`SHARD_BYTES` each, in the same memory.

        The cut depends on the shape alone, so every process and every resumed run cuts alike.
        """
        row_bytes = self.teacher.shape[1] * 4
        rows = max(ROWS, SHARD_BYTES // row_bytes // ROWS * ROWS)
        starts = range(0, len(self.inputs), rows)
        return [self._rows(slice(start, start + rows)) for start in starts]

    def _rows(self, rows: slice) -> Part:
        return Part(self.inputs[rows], self.teacher[rows], self.labels[rows])


@dataclass(frozen=True)
class Problem:
    """The splits that a search may look at; the test split is not among them.

    Workers get these arrays through the object store, one copy a node, without copying.
    """

    task: Task
    train: Part
    validation: Part

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        return self.train.inputs.shape[1:]

    @property
    def outputs(self) -> int:
        """L."""
        return int(self.train.teacher.shape[1])


def as_tensor(array: NDArray[Any]) -> Tensor:
    """A tensor that shares the array's memory, which may be read-only (object store)."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not writable.*")  # nothing here writes to it
        return torch.from_numpy(array)


@dataclass(frozen=True)
class TargetScale:
    """Affine map from standardised regression targets to raw ones; the identity for classes.

    Attributes:
        scale: float32 (L,).
        shift: float32 (L,).
    """

    scale: NDArray[np.float32]
    shift: NDArray[np.float32]

    @classmethod
    def of(cls, dataset: Dataset) -> TargetScale:
        """The map that the training split's targets call for."""
        if dataset.task == "classification":
            ones = np.ones(dataset.outputs, np.float32)
            return cls(ones, np.zeros_like(ones))
        spread = dataset.train.y.std(axis=0)
        return cls(np.where(spread > 0, spread, 1).astype(np.float32), dataset.train.y.mean(axis=0))

    def standardise(self, targets: NDArray[Any]) -> NDArray[Any]:
        """Targets (N, L) in units of the training split; class indices stay as they are."""
        if targets.ndim == 1:
            return targets
        scaled: NDArray[np.float32] = ((targets - self.shift) / self.scale).astype(np.float32)
        return scaled


def build_problem(dataset: Dataset, logits: dict[str, NDArray[np.float32]]) -> Problem:
    """What a search may see of a data set, with the teacher's centred logits of each split."""
    targets = TargetScale.of(dataset)

    def part(name: str) -> Part:
        split: Split = getattr(dataset, name)
        labels = targets.standardise(split.y)
        return Part(standardised(dataset, split), logits[name], labels)

    return Problem(dataset.task, part("train"), part("validation"))


def standardised(dataset: Dataset, split: Split) -> NDArray[np.float32]:
    """The split's features under the training split's standardisation, float32."""
    rule = dataset.standardisation
    features: NDArray[np.float32] = (split.x - rule.shift) / rule.scale
    return np.ascontiguousarray(features, dtype=np.float32)
