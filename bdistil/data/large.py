"""The user's data that are larger than the memory: Parquet tables, and folders of NPY files.

Labels, a teacher's outputs and one column at a time are held in memory; features go block by block
to a file for each split (see :mod:`bdistil.files.array_files`), from which they are mapped.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdistil.data.columns import TableColumns
from bdistil.data.split import SplitIndices
from bdistil.data.values import finite_numbers
from bdistil.errors import BdistilWarning
from bdistil.files.array_files import block_rows, file_state, split_folder, split_to_files
from bdistil.files.column_file import ColumnFile


def table_splits(
    file: ColumnFile, columns: TableColumns, rows: SplitIndices, cache: Path
) -> list[NDArray[np.float32]]:
    """The encoded features of each split, mapped from files in the cache."""
    folder = split_folder(
        cache, rows._asdict(), [file_state(file.paths), columns.model_dump_json()]
    )
    blocks = _encoded_blocks(file, columns)
    return split_to_files(folder, (columns.width,), blocks, rows._asdict())


def array_splits(
    x: NDArray[Any], rows: SplitIndices, state: Any, cache: Path
) -> list[NDArray[Any]]:
    """The rows of each split of a mapped array of examples, mapped from files in the cache."""
    folder = split_folder(cache, rows._asdict(), state)
    return split_to_files(folder, x.shape[1:], _checked_blocks(x), rows._asdict())


def _encoded_blocks(file: ColumnFile, columns: TableColumns) -> Iterator[NDArray[np.float32]]:
    """The encoded features, (n, width) float32, block by block."""
    names = [column.name for column in columns.features]
    for batch, constant in file.blocks(names, block_rows((columns.width,))):
        with warnings.catch_warnings():  # of unknown categories, in each block anew
            warnings.simplefilter("ignore", BdistilWarning)
            yield columns.encode(batch.to_pandas(ignore_metadata=True).assign(**constant))


def _checked_blocks(x: NDArray[Any]) -> Iterator[NDArray[np.float32]]:
    rows = block_rows(x.shape[1:])
    for start in range(0, len(x), rows):
        block = np.asarray(x[start : start + rows])
        what = f"array 'x', from row {start} on,"
        yield finite_numbers(block, what, "correct or drop these examples")
