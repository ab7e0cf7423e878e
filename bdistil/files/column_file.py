"""A Parquet table, in one file or in parts, of which one column at a time is in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bdistil.files.array_files import is_large
from bdistil.files.arrow_schemas import (
    class_names,
    columns_of_bytes,
    columns_of_lists,
    index_of,
    is_number,
    unified,
)
from bdistil.files.column_names import check_same_columns, refuse_twins
from bdistil.files.file_readers import reading
from bdistil.files.folder_columns import folder_columns
from bdistil.optional import require

if TYPE_CHECKING:
    import pandas as pd


class ColumnFile:
    """A Parquet table, read on demand: ``file[name]`` is a column.

    Folders ``key=value`` above a part, as Hive and Spark write them, are a column of it.

    Args:
        paths: the parts, in the order of their rows.
        folders: of each part, the names of the folders that may be columns.

    Attributes:
        columns: names of all columns.
        index: those of them that were the index of a pandas frame.
        notes: on an index that is no column.
        class_names: what the codes of some columns mean, as data sets of the Hugging Face hub
            keep it.
        of_bytes: columns of bytes, or of structs with a field `bytes`.
        of_numbers: columns of numbers and booleans.
        of_lists: columns of lists of numbers.

    Raises:
        DataError: if a part is damaged.
    """

    def __init__(
        self, paths: Sequence[Path], folders: Sequence[Sequence[str]] | None = None
    ) -> None:
        self.paths = paths
        self.keys = folder_columns(folders or [()] * len(paths))
        schemas = []
        for path in paths:
            with self._opened(path) as file:
                schemas.append(file.schema_arrow)
        names = [[*schema.names, *keys] for schema, keys in zip(schemas, self.keys, strict=True)]
        check_same_columns(paths, names)
        refuse_twins(names[0])
        self.columns: list[str] = names[0]
        schema = unified(schemas)
        self.of_bytes = columns_of_bytes(schema)
        self.of_lists = columns_of_lists(schema)
        self.of_numbers = {field.name for field in schema if is_number(field.type)}
        with reading(paths[0], alone=len(paths) == 1):
            self.index, self.notes = index_of(schemas[0])
            self.class_names = class_names(schemas[0])

    @contextmanager
    def _opened(self, path: Path) -> Iterator[Any]:
        parquet = require("pyarrow.parquet", "table")
        with reading(path, alone=len(self.paths) == 1):
            # Buffering ahead keeps all that was read until the end.
            yield parquet.ParquetFile(path, memory_map=True, pre_buffer=False)

    @cached_property
    def rows(self) -> list[int]:
        """Of each part."""
        counts = []
        for path in self.paths:
            with self._opened(path) as file:
                counts.append(int(file.metadata.num_rows))
        return counts

    def __len__(self) -> int:
        return sum(self.rows)

    def __contains__(self, name: str) -> bool:
        return name in self.columns

    def __getitem__(self, name: str) -> pd.Series[Any]:
        column: pd.Series[Any] = self.read([name])[name]
        return column

    @property
    def is_large(self) -> bool:
        """Whether all columns are too many for the memory."""
        return is_large(len(self) * len(self.columns))

    def read(self, names: Sequence[str]) -> pd.DataFrame:
        """Some columns of all rows."""
        pyarrow = require("pyarrow", "table")
        tables = []
        for path, keys, rows in zip(self.paths, self.keys, self.rows, strict=True):
            with self._opened(path) as file:
                table = file.read(columns=[name for name in names if name not in keys])
                table.validate(full=True)  # Arrow reads text that is none
            for name in names:
                if name in keys:
                    table = table.append_column(name, pyarrow.array([keys[name]] * rows))
            tables.append(table.select(names))
        with reading(self.paths[0]):
            joined = pyarrow.concat_tables(tables, promote_options="permissive")
            frame: pd.DataFrame = joined.replace_schema_metadata().to_pandas()
        return frame

    def blocks(self, names: Sequence[str], rows: int) -> Iterator[tuple[Any, dict[str, Any]]]:
        """Some columns of all rows, at most so many rows at once.

        Yields:
            A record batch of Arrow's, and the columns that have one value in all of it.
        """
        for path, keys in zip(self.paths, self.keys, strict=True):
            own = [name for name in names if name not in keys]
            constant = {name: keys[name] for name in names if name in keys}
            with self._opened(path) as file:
                for batch in file.iter_batches(rows, columns=own, use_threads=False):
                    batch.validate(full=True)
                    yield batch, constant

    def frames(self, names: Sequence[str], rows: int) -> Iterator[pd.DataFrame]:
        """The same as data frames, without columns that are not there."""
        there = [name for name in names if name in self.columns]
        for batch, constant in self.blocks(there, rows):
            yield batch.to_pandas(ignore_metadata=True).assign(**constant)
