"""How columns of a user's table become features is learnt here, from the training rows."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bdistil.errors import BdistilWarning, DataError
from bdistil.optional import require
from bdistil.runtime.columns import FeatureColumn, TableColumns
from bdistil.runtime.values import as_text, check_present, finite_numbers, sorted_texts

if TYPE_CHECKING:
    import pandas as pd

MOST_CATEGORIES = 100
LEAST_DISTINCT_SHARE = 0.9  # of the values of a column that float32 must tell apart
FEWEST_NUMBERS = 10
"""Different texts from which on a column of them that look like numbers was meant as numbers."""
OTHER_NOTATION = re.compile(r"[-+]?[$€£]?\s?(\d+|\d{1,3}([.,' ]\d{3})+)([.,]\d+)?\s?(%|[$€£])?")
"""Decimal commas, thousands, percent and currencies."""
REMEDY = "correct these values, drop their rows or leave the column out with data.ignore"


class ByColumn(Protocol):
    """A table that gives one column at a time, as a DataFrame does."""

    def __getitem__(self, name: str, /) -> pd.Series[Any]:
        """The column of that name."""


def learn_columns(
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
    return TableColumns(features, label)


def _learn_column(series: pd.Series[Any], rows: NDArray[np.int64]) -> FeatureColumn:
    name = str(series.name)
    check_present(series, f"column {name!r}", REMEDY)
    types = require("pandas", "table").api.types
    content = types.infer_dtype(series)
    if content == "string" or isinstance(series.dtype, types.CategoricalDtype):
        return FeatureColumn(name=name, categories=_categories(series, rows))
    if types.is_numeric_dtype(series) or content in ("boolean", "decimal", "integer"):
        numbers = finite_numbers(series, f"column {name!r}", REMEDY)
        _note_lost_digits(name, series, numbers)
        return FeatureColumn(name=name)
    raise DataError(
        f"column {name!r} holds {content} values, neither numbers nor text; convert it or leave "
        "it out with data.ignore."
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
    _refuse_misread_numbers(series, categories)
    if len(categories) <= MOST_CATEGORIES:
        return tuple(categories)
    raise DataError(
        f"column {series.name!r} holds {len(categories)} different texts, more than the "
        f"{MOST_CATEGORIES} that are encoded as categories; leave it out with data.ignore or "
        "encode it as numbers."
    )


def _refuse_misread_numbers(series: pd.Series[Any], categories: Sequence[str]) -> None:
    """Refuse texts most of which are numbers, in Python's notation or another, but not all.

    Raises:
        DataError: naming the first that is none, or the notation.
    """
    if len(categories) < FEWEST_NUMBERS:
        return
    numbers = require("pandas", "table").to_numeric(series, errors="coerce")
    if 0.5 < numbers.notna().mean() < 1:
        row = int(np.argmax(numbers.isna()))
        raise DataError(
            f"column {series.name!r} looks like numbers but holds {series.iloc[row]!r} in row "
            f"{row} (counted from 0); {REMEDY}."
        )
    foreign = [text for text in categories if OTHER_NOTATION.fullmatch(text.strip())]
    if len(foreign) > len(categories) / 2 and numbers.notna().mean() < 1:
        raise DataError(
            f"column {series.name!r} holds numbers in another notation, such as {foreign[0]!r}; "
            "write them as 1234.5 (pandas.read_csv takes decimal=',' and thousands='.'), or leave "
            "the column out with data.ignore."
        )
