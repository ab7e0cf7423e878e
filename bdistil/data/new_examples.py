"""New examples from the user's file, to be predicted batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bdistil.data.file_readers import (
    ARRAY_SUFFIXES,
    TABLE_SUFFIXES,
    check_file,
    errors_naming,
    read_arrays,
    read_table,
)
from bdistil.data.large import ColumnFile, is_large
from bdistil.errors import DataError
from bdistil.runtime.columns import TableColumns
from bdistil.runtime.signature import Signature

if TYPE_CHECKING:
    import pandas as pd

BATCH = 4096
BLOCK_BYTES = 2**28
"""Features that are encoded at once; most files are one block, of which notes count the rows."""


def read_new_examples(
    path: Path, expected: Signature
) -> tuple[Iterator[NDArray[np.float32]], NDArray[Any] | None]:
    """Open a file of examples to predict and, where it has them, their labels.

    Args:
        path: Parquet or CSV if a table was trained on; NPZ or folder with `x` and maybe `y`, or
            NPY. Large Parquet files and `x` of a folder are read piece by piece.
        expected: what the ensemble takes.

    Returns:
        Batches of features, float32 (B, ...), and raw labels as in the file, (N,) or (N, L) where
        there are several (see :func:`bdistil.data.labels.class_indices`), or None.

    Raises:
        DataError: if the file is missing, damaged or does not fit; of its values, once the batches
            get there.
        MissingDependencyError: if pandas or pyarrow is needed and not installed.
    """
    path = Path(path)
    with errors_naming(path):
        if path.suffix.lower() in ARRAY_SUFFIXES or path.is_dir():
            blocks, labels = _arrays(path)
        elif expected.columns is not None:
            blocks, labels = _table(path, expected.columns)
        else:
            check_file(path, TABLE_SUFFIXES)
            raise DataError("training used arrays, not a table; give an NPZ or NPY file.")
    return _batches(path, blocks, expected), labels


def _batches(
    path: Path, blocks: Iterable[Any], expected: Signature
) -> Iterator[NDArray[np.float32]]:
    row = 0
    for block in blocks:
        with errors_naming(path, row):
            x = expected.as_examples(block)
        yield from (x[start : start + BATCH] for start in range(0, max(1, len(x)), BATCH))
        row += len(x)


def _table(path: Path, columns: TableColumns) -> tuple[Iterable[Any], NDArray[Any] | None]:
    rows = _block_rows((columns.width,))
    table = ColumnFile(path) if is_large(path) else read_table(path, columns.texts)
    blocks = (
        table.blocks(columns.names, rows)
        if isinstance(table, ColumnFile)
        else (table.iloc[start : start + rows] for start in range(0, len(table), rows))
    )
    return blocks, _raw_labels(table, columns)


def _raw_labels(table: pd.DataFrame | ColumnFile, columns: TableColumns) -> NDArray[Any] | None:
    if any(name not in table for name in columns.labels):
        return None
    labels = [table[name].to_numpy() for name in columns.labels]
    return labels[0] if isinstance(columns.label, str) else np.stack(labels, axis=1)


def _arrays(path: Path) -> tuple[Iterable[Any], NDArray[Any] | None]:
    arrays = read_arrays(path)
    if "x" not in arrays:
        raise DataError(f"array 'x' is missing (there: {', '.join(arrays)}); name the features so.")
    x, labels = arrays["x"], arrays.get("y")
    if x.ndim == 0:
        raise DataError("array 'x' is one number; give examples, (N, ...).")
    if labels is not None and (labels.ndim == 0 or len(labels) != len(x)):
        raise DataError(
            f"array 'y' has shape {labels.shape} for {len(x)} examples; give one label each."
        )
    rows = _block_rows(x.shape[1:])
    return (x[start : start + rows] for start in range(0, max(1, len(x)), rows)), labels


def _block_rows(shape: tuple[int, ...]) -> int:
    return max(1, BLOCK_BYTES // (4 * max(1, int(np.prod(shape)))))
