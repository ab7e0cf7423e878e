"""What is read of a file to predict, for an ensemble that takes such examples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bdistil.data.new_examples import read_new_examples
from bdistil.runtime.columns import TableColumns
from bdistil.runtime.manifest import Manifest


def read_batches(
    path: Path, columns: TableColumns | None, shape: tuple[int, ...] = ()
) -> tuple[list[np.ndarray], Any]:
    """Batches and labels; `shape` is of one example, unless the columns tell it."""
    expected = Manifest(
        name="mine",
        task="classification",
        input_shape=shape if columns is None else (columns.width,),
        outputs=2,
        students=(),
        columns=columns,
    )
    new = read_new_examples(path, expected)
    return list(new.batches), new.labels


def read_all(
    path: Path, columns: TableColumns | None, shape: tuple[int, ...] = ()
) -> tuple[np.ndarray, Any]:
    """The same in one piece."""
    batches, labels = read_batches(path, columns, shape)
    return np.concatenate(batches), labels
