"""How columns of a user's table become features: learnt in training, used again to predict."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from bdistil.data.values import as_text, check_present, finite_numbers, sorted_texts
from bdistil.errors import BdistilWarning, DataError
from bdistil.files.file_readers import (
    ARRAY_SUFFIXES,
    TABLE_SUFFIXES,
    check_file,
    errors_naming,
    read_arrays,
)
from bdistil.files.table_files import read_table
from bdistil.optional import require

if TYPE_CHECKING:
    import pandas as pd

MOST_CATEGORIES = 100
LEAST_DISTINCT_SHARE = 0.9  # of the values of a column that float32 must tell apart
REMEDY = "correct these values or drop their rows"
LEARN_REMEDY = "correct these values, drop their rows or leave the column out with data.ignore"


class ByColumn(Protocol):
    """A table that gives one column at a time, as a DataFrame does."""

    def __getitem__(self, name: str, /) -> pd.Series[Any]:
        """The column of that name."""


class FeatureColumn(BaseModel):
    """One column: numbers and booleans as they are, text and categoricals one-hot.

    Attributes:
        name: the column's name.
        categories: the known values as text, None for a column of numbers.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    categories: tuple[str, ...] | None = None

    @property
    def width(self) -> int:
        """Number of features that the column becomes."""
        return 1 if self.categories is None else len(self.categories)

    def encode(self, values: Any) -> NDArray[np.float32]:
        """Features float32 (N, width); an unknown category is all zeros.

        Raises:
            DataError: if a value is missing, infinite or no number where one is expected.
        """
        what = f"column {self.name!r}"
        if isinstance(values, str | bytes) or not hasattr(values, "__len__"):
            raise DataError(f"{what} is {values!r}, one value; give a list, one value a row.")
        if self.categories is None:
            return finite_numbers(values, what, REMEDY).reshape(-1, 1)
        check_present(values, what, REMEDY)
        texts = np.array([as_text(value) for value in values], dtype=object)
        one_hot: NDArray[np.bool_] = texts[:, None] == np.array(self.categories, dtype=object)
        _note_unknown(what, texts[~one_hot.any(axis=1)], len(texts))
        return one_hot.astype(np.float32)


class TableColumns(BaseModel):
    """The feature columns of a table, in order, and its label columns; JSON-able.

    Attributes:
        features: the columns that become features.
        label: name of the label column, or names of several.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    features: tuple[FeatureColumn, ...]
    label: str | tuple[str, ...]

    @classmethod
    def learn(
        cls,
        frame: ByColumn,
        names: Sequence[str],
        label: str | Sequence[str],
        rows: NDArray[np.int64],
    ) -> TableColumns:
        """Learn the types of the named columns, and their categories from the training rows.

        Args:
            frame: the whole table, or a file that gives one column at a time.
            names: the columns to become features.
            label: name of the label column, or names of several.
            rows: positions of the training rows, the only ones to learn categories from.

        Raises:
            DataError: if values are missing, or a column is neither numbers nor a few categories.
        """
        features = tuple(_learn_column(frame[name], rows) for name in names)
        if not isinstance(label, str):
            label = label[0] if len(label) == 1 else tuple(label)
        return cls(features=features, label=label)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the label columns."""
        return (self.label,) if isinstance(self.label, str) else self.label

    @property
    def texts(self) -> set[str]:
        """Columns to be read as text, whatever they look like; a label may be one."""
        return {*self.labels, *(column.name for column in self.features if column.categories)}

    @property
    def width(self) -> int:
        """Number of features."""
        return sum(column.width for column in self.features)

    def encode(self, table: Mapping[str, Any] | pd.DataFrame) -> NDArray[np.float32]:
        """Turn a DataFrame, or a mapping of names to equally long arrays, into features.

        Returns:
            float32 (N, width); columns not learnt are left out.

        Raises:
            DataError: if a column or a value is missing, or no number where one is expected.
        """
        absent = [repr(column.name) for column in self.features if column.name not in table]
        if absent:
            raise DataError(
                f"the table lacks column{'s' if len(absent) > 1 else ''} {', '.join(absent)}, "
                "which training used; add what is missing."
            )
        blocks = [column.encode(table[column.name]) for column in self.features]
        if len({len(block) for block in blocks}) > 1:
            lengths = ", ".join(str(len(block)) for block in blocks)
            raise DataError(f"the columns differ in length ({lengths}); give one value a row.")
        return np.concatenate(blocks, axis=1)


def read_features(
    path: Path, columns: TableColumns | None
) -> tuple[NDArray[np.float32], NDArray[Any] | None]:
    """Read the features to predict on and, where the file has them, the labels.

    Args:
        path: Parquet or CSV (needs `columns`), NPZ or folder with `x` and maybe `y`,
            or NPY.
        columns: how the table was encoded in training; None if training used arrays.

    Returns:
        Features, float32 (N, ...), and raw labels as in the file, (N,) or (N, L) where there are
        several (see :func:`bdistil.data.labels.class_indices`), or None.

    Raises:
        DataError: if the file is missing, damaged or does not fit the columns.
        MissingDependencyError: if pandas or pyarrow is needed and not installed.
    """
    path = Path(path)
    with errors_naming(path):
        if path.suffix.lower() in ARRAY_SUFFIXES or path.is_dir():
            return _array_features(path, columns)
        if columns is None:
            check_file(path, TABLE_SUFFIXES)
            raise DataError("training used arrays, not a table; give an NPZ or NPY file.")
        frame = read_table(path, texts=columns.texts)
        return columns.encode(frame), _raw_labels(frame, columns)


def _raw_labels(frame: pd.DataFrame, columns: TableColumns) -> NDArray[Any] | None:
    if any(name not in frame for name in columns.labels):
        return None
    if isinstance(columns.label, str):
        return frame[columns.label].to_numpy()
    return frame[list(columns.label)].to_numpy()


def _array_features(
    path: Path, columns: TableColumns | None
) -> tuple[NDArray[np.float32], NDArray[Any] | None]:
    arrays = read_arrays(path)
    if "x" not in arrays:
        raise DataError(f"array 'x' is missing (there: {', '.join(arrays)}); name the features so.")
    if arrays["x"].ndim == 0:
        raise DataError("array 'x' is one number; give examples, (N, ...).")
    x = finite_numbers(arrays["x"], "array 'x'", "correct these values")
    if columns is not None and x.shape[1:] != (columns.width,):
        raise DataError(
            f"array 'x' has shape {x.shape}, but training encoded its table as {columns.width} "
            "features; give that many, or a table."
        )
    labels = arrays.get("y")
    if labels is not None and (labels.ndim == 0 or len(labels) != len(x)):
        raise DataError(
            f"array 'y' has shape {labels.shape} for {len(x)} examples; give one label each."
        )
    return x, labels


def _learn_column(series: pd.Series[Any], rows: NDArray[np.int64]) -> FeatureColumn:
    name = str(series.name)
    check_present(series, f"column {name!r}", LEARN_REMEDY)
    types = require("pandas", "table").api.types
    content = types.infer_dtype(series)
    if content == "string" or isinstance(series.dtype, types.CategoricalDtype):
        return FeatureColumn(name=name, categories=_categories(series, rows))
    if types.is_numeric_dtype(series) or content in ("boolean", "decimal", "integer"):
        numbers = finite_numbers(series, f"column {name!r}", LEARN_REMEDY)
        _note_lost_digits(name, series, numbers)
        return FeatureColumn(name=name)
    raise DataError(
        f"column {name!r} holds {content} values, neither numbers nor text; convert it or leave "
        "it out with data.ignore."
    )


def _note_unknown(what: str, unknown: NDArray[np.object_], count: int) -> None:
    if len(unknown):
        warnings.warn(
            f"{what}: {len(unknown)} of {count} values are categories that training did not see, "
            f"such as {unknown[0]!r}; they count as none of the known ones.",
            BdistilWarning,
            stacklevel=2,
        )


def _note_lost_digits(name: str, series: pd.Series[Any], numbers: NDArray[np.float32]) -> None:
    """Networks compute in float32, which tells large numbers apart only coarsely."""
    before, after = series.nunique(), len(np.unique(numbers))
    if after < LEAST_DISTINCT_SHARE * before:
        warnings.warn(
            f"column {name!r} has {before} different values, of which float32 keeps only {after} "
            "apart; subtract a constant from it, or split it into several columns.",
            BdistilWarning,
            stacklevel=2,
        )


def _categories(series: pd.Series[Any], rows: NDArray[np.int64]) -> tuple[str, ...]:
    categories = sorted_texts(as_text(value) for value in series.iloc[rows].unique())
    if len(categories) <= MOST_CATEGORIES:
        return tuple(categories)
    numbers = require("pandas", "table").to_numeric(series, errors="coerce")
    if numbers.notna().mean() > 0.5:
        row = int(np.argmax(numbers.isna()))
        raise DataError(
            f"column {series.name!r} looks like numbers but holds {series.iloc[row]!r} in row "
            f"{row} (counted from 0); {LEARN_REMEDY}."
        )
    raise DataError(
        f"column {series.name!r} holds {len(categories)} different texts, more than the "
        f"{MOST_CATEGORIES} that are encoded as categories; leave it out with data.ignore or "
        "encode it as numbers."
    )
