"""Whatever has named columns, as a mapping of their names to values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bdistil.errors import DataError


def as_table(x: Any) -> Any | None:
    """Columns by name: something with ``name in it`` and ``it[name]``.

    Taken are mappings of columns, frames of pandas and polars, tables of Arrow and whatever hands
    them out (``__arrow_c_stream__``, as DuckDB's relations do), lists of rows as dictionaries, and
    structured arrays.

    Returns:
        None if `x` has no named columns.

    Raises:
        DataError: if a frame is yet to be computed, or its columns have names of several levels.
    """
    if isinstance(x, Mapping):
        return x
    if isinstance(x, np.ndarray):
        names = x.dtype.names
        return None if names is None else {name: x[name] for name in names}
    if isinstance(x, Sequence) and len(x) and all(isinstance(row, Mapping) for row in x):
        return _of_rows(x)
    if hasattr(x, "column_names"):
        return _of_arrow(x)
    if hasattr(x, "collect") and hasattr(x, "collect_schema"):
        raise DataError(f"the table is a {type(x).__name__}; give what its collect() returns.")
    if (levels := getattr(getattr(x, "columns", None), "nlevels", 1)) > 1:
        raise DataError(f"the table's columns have names of {levels} levels; give each one name.")
    if hasattr(x, "__arrow_c_stream__") and not hasattr(x, "iloc"):  # pandas needs no copy
        return _handed_out(x)
    return x if hasattr(x, "columns") or hasattr(x, "keys") else None


def _of_rows(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A row that lacks a key that others have lacks the value."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: _column([row.get(name) for row in rows]) for name in names}


def _column(values: list[Any]) -> np.ndarray:
    """Values as they are: numpy would turn numbers beside text into text."""
    column = np.empty(len(values), object)
    column[:] = values
    return column


def _of_arrow(table: Any) -> dict[str, Any]:
    for name in table.column_names:
        if table.column_names.count(name) > 1:
            raise DataError(f"the table has two columns named {name!r}; rename one of them.")
    return {name: _arrow_values(table.column(name)) for name in table.column_names}


def _arrow_values(column: Any) -> np.ndarray:
    if hasattr(column, "combine_chunks"):  # a ChunkedArray copies where it must
        values: np.ndarray = column.to_numpy()
    else:
        values = column.to_numpy(zero_copy_only=False)
    return values


def _handed_out(x: Any) -> Any:
    """Through Arrow; without pyarrow, a frame that can be read by name is taken as it is."""
    try:
        import pyarrow
    except ImportError:
        if hasattr(x, "__contains__") and hasattr(x, "__getitem__"):
            return x
        raise DataError(
            f"a {type(x).__name__} is read through pyarrow, which is not installed; install it, or "
            "give a mapping of names to columns."
        ) from None
    return _of_arrow(pyarrow.table(x))
