"""The user's data that are larger than the memory: Parquet tables, and folders of NPY files.

Labels, a teacher's outputs and one column at a time are held in memory; features go block by block
to a file for each split (see :mod:`bdistil.data.array_files`), from which they are mapped.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdistil.data.array_files import block_rows, file_state, split_folder, split_to_files
from bdistil.data.column_file import ColumnFile
from bdistil.data.columns import TableColumns
from bdistil.data.split import SplitIndices
from bdistil.data.values import finite_numbers


def table_splits(
    file: ColumnFile, columns: TableColumns, rows: SplitIndices, cache: Path
) -> list[NDArray[np.float32]]:
    """The encoded features of each split, mapped from files in the cache."""
    folder = split_folder(cache, rows, [file_state(file.paths), columns.model_dump_json()])
    return split_to_files(folder, (columns.width,), file.features(columns), rows)


def array_splits(
    x: NDArray[Any], rows: SplitIndices, state: Any, cache: Path
) -> list[NDArray[Any]]:
    """The rows of each split of a mapped array of examples, mapped from files in the cache."""
    folder = split_folder(cache, rows, state)
    return split_to_files(folder, x.shape[1:], _checked_blocks(x), rows)


def _checked_blocks(x: NDArray[Any]) -> Iterator[NDArray[np.float32]]:
    rows = block_rows(x.shape[1:])
    for start in range(0, len(x), rows):
        block = np.asarray(x[start : start + rows])
        what = f"array 'x', from row {start} on,"
        yield finite_numbers(block, what, "correct or drop these examples")
