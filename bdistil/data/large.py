"""The user's data that are larger than the memory: Parquet files, and folders of NPY files.

Labels, a teacher's outputs and one column at a time are held in memory; features go block by block
to a file for each split (see :mod:`bdistil.data.array_files`), from which they are mapped.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bdistil.data.array_files import block_rows, cache_folder, split_to_files
from bdistil.data.split import SplitIndices
from bdistil.errors import BdistilWarning
from bdistil.optional import require
from bdistil.runtime.columns import TableColumns
from bdistil.runtime.values import finite_numbers
from bdistil.spec import DataSpec

if TYPE_CHECKING:
    import pandas as pd

LARGE_BYTES = 2**30
"""Float32 features from which on a Parquet file is not read whole."""


class ColumnFile:
    """A Parquet file of which one column at a time is in memory: ``file[name]``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        parquet = require("pyarrow.parquet", "table")
        # Buffering ahead keeps all that was read until the end.
        self.file = parquet.ParquetFile(path, memory_map=True, pre_buffer=False)
        schema = self.file.schema_arrow
        index = (schema.pandas_metadata or {}).get("index_columns", [])
        self.columns: list[str] = [name for name in schema.names if name not in index]

    @property
    def bytes(self) -> int:
        """Of its columns as float32."""
        rows: int = self.file.metadata.num_rows
        return 4 * rows * len(self.columns)

    def __contains__(self, name: str) -> bool:
        return name in self.columns

    def __getitem__(self, name: str) -> pd.Series[Any]:
        column: pd.Series[Any] = self.file.read(columns=[name]).to_pandas()[name]
        return column

    def features(self, columns: TableColumns) -> Iterator[NDArray[np.float32]]:
        """The encoded features, (n, width) float32, block by block."""
        for block in self.blocks(columns.names, block_rows((columns.width,))):
            with warnings.catch_warnings():  # of unknown categories, in each block anew
                warnings.simplefilter("ignore", BdistilWarning)
                yield columns.encode(block)

    def blocks(self, names: list[str], rows: int) -> Iterator[pd.DataFrame]:
        """The named columns, as far as there are such, of so many rows at a time."""
        for batch in self.file.iter_batches(rows, columns=names, use_threads=False):
            yield batch.to_pandas()


def is_large(path: Path) -> bool:
    """Whether a file is a Parquet file with features too many to be read whole."""
    if path.suffix.lower() != ".parquet":
        return False
    try:
        return ColumnFile(path).bytes >= LARGE_BYTES
    except (OSError, ValueError):  # pyarrow's errors are of these kinds
        return False  # reading it will say what is wrong


def table_splits(
    spec: DataSpec, seed: int, file: ColumnFile, columns: TableColumns, rows: SplitIndices
) -> list[NDArray[np.float32]]:
    """The encoded features of each split, mapped."""
    folder = split_folder(spec, seed, json.dumps(asdict(columns)), [file.path])
    return split_to_files(folder, (columns.width,), file.features(columns), rows)


def array_splits(
    spec: DataSpec, seed: int, x: NDArray[Any], rows: SplitIndices
) -> list[NDArray[np.float32]]:
    """The rows of each split of a mapped array of examples, mapped."""
    assert spec.path is not None
    files = sorted(spec.path.glob("*.npy"))
    folder = split_folder(spec, seed, "", files)
    return split_to_files(folder, x.shape[1:], _checked_blocks(x), rows)


def split_folder(spec: DataSpec, seed: int, columns: str, files: list[Path]) -> Path:
    """A folder in the cache, another one for other files, other columns or another split."""
    assert spec.path is not None
    states = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    key = json.dumps([states, columns, seed, spec.validation, spec.test, spec.labels, spec.task])
    name = f"{spec.path.stem}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    return cache_folder(spec.path if spec.path.is_dir() else spec.path.parent).resolve() / name


def _checked_blocks(x: NDArray[Any]) -> Iterator[NDArray[np.float32]]:
    rows = block_rows(x.shape[1:])
    for start in range(0, len(x), rows):
        block = np.asarray(x[start : start + rows])
        what = f"array 'x', from row {start} on,"
        yield finite_numbers(block, what, "correct or drop these examples")
