"""How columns of a user's table become features is learnt here, from the training rows."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bdistil.data.lists import holds_numbers, is_nested, lengths_of
from bdistil.errors import BdistilWarning, DataError
from bdistil.optional import require
from bdistil.runtime.columns import FeatureColumn, TableColumns
from bdistil.runtime.dates import DATE_PARTS, ISO, as_times, date_parts
from bdistil.runtime.values import (
    as_text,
    check_present,
    finite_numbers,
    missing_values,
    sorted_texts,
)

if TYPE_CHECKING:
    import pandas as pd

MOST_CATEGORIES = 100
NUMBERS = ("boolean", "decimal", "integer", "floating", "mixed-integer-float")
LEAST_DISTINCT_SHARE = 0.9  # of the values of a column that float32 must tell apart
FEWEST_NUMBERS = 10
"""Different texts from which on a column of them that look like numbers was meant as numbers."""
OTHER_NOTATION = re.compile(r"[-+]?[$€£]?\s?(\d+|\d{1,3}([.,' ]\d{3})+)([.,]\d+)?\s?(%|[$€£])?")
"""Decimal commas, thousands, percent and currencies."""
ZEROS_IN_FRONT = re.compile(r"0\d+")
OTHER_DATES = re.compile(
    r"(\d{1,2}([./-])\d{1,2}\2(\d{4}|\d{2})|\d{4}([./])\d{1,2}\4\d{1,2})([ T]\d{1,2}:.*)?"
)
"""Days and months in any order, with points, slashes or the year behind."""
REMEDY = "correct these values, drop their rows or leave the column out with data.ignore"


Mask = NDArray[np.bool_]
Learn = Callable[["pd.Series[Any]", Mask, Mask], FeatureColumn]
"""From a column, where it has no value, and which rows of it train."""


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
        DataError: if a column is neither numbers nor dates nor texts.
    """
    features = tuple(_learn_column(frame[name], rows) for name in names)
    if not isinstance(label, str):
        label = label[0] if len(label) == 1 else tuple(label)
    return TableColumns(features, label)


def _learn_column(series: pd.Series[Any], rows: NDArray[np.int64]) -> FeatureColumn:
    name, missing = str(series.name), missing_values(series)
    if missing.all():
        raise DataError(f"column {name!r} holds no value; leave it out with data.ignore.")
    trained = np.zeros(len(series), bool)
    trained[rows] = True
    column = _learner(series[~missing], name)(series, missing, trained & ~missing)
    return replace(column, missing=int(missing.sum())) if missing.any() else _complete(column)


def _complete(column: FeatureColumn) -> FeatureColumn:
    """A column without missing values, which needs nothing to stand in for one."""
    return replace(column, fill=())


def _learner(values: pd.Series[Any], name: str) -> Learn:
    """How a column of such values is learnt from all of them and from those of training.

    Raises:
        DataError: if they are neither numbers nor text nor dates.
    """
    if is_nested(values) and holds_numbers(values):
        return _learn_lists
    types = require("pandas", "table").api.types
    content = types.infer_dtype(values)
    if isinstance(values.dtype, types.CategoricalDtype):
        return _learn_categories
    if content in ("datetime64", "datetime", "date") or (content == "string" and are_dates(values)):
        return _learn_dates
    if content == "string":
        return _learn_categories
    if types.is_numeric_dtype(values) or content in NUMBERS:
        return _learn_numbers
    raise DataError(
        f"column {name!r} holds {content} values, neither numbers nor text nor dates; convert it "
        "or leave it out with data.ignore."
    )


def _learn_lists(series: pd.Series[Any], missing: Mask, trained: Mask) -> FeatureColumn:
    """Vectors of one length, as embeddings are."""
    name = str(series.name)
    if missing.any():
        check_present(series, f"column {name!r} of lists", REMEDY)
    sizes = sorted(lengths_of(series))
    if len(sizes) > 1 or not sizes[0]:
        raise DataError(
            f"column {name!r} holds lists of {sizes[0]:,} to {sizes[-1]:,} numbers, no vectors; "
            "leave the column out with data.ignore, or data.layout and data.series if each list is "
            "a series."
        )
    return FeatureColumn(name, size=sizes[0])


def _learn_numbers(series: pd.Series[Any], missing: Mask, trained: Mask) -> FeatureColumn:
    name = str(series.name)
    numbers = finite_numbers(np.where(missing, 0, series), f"column {name!r}", REMEDY)
    _note_lost_digits(name, series, numbers[~missing])
    known = numbers[trained]
    return FeatureColumn(name, fill=(float(np.median(known)) if len(known) else 0.0,))


def _learn_dates(series: pd.Series[Any], missing: Mask, trained: Mask) -> FeatureColumn:
    """The parts that differ between training rows, and their medians."""
    times = as_times(series, f"column {series.name!r}", REMEDY)[trained]
    found = date_parts(times, tuple(DATE_PARTS))
    parts = [i for i, own in enumerate(found.T) if len(np.unique(own)) > 1] or [0]
    names = tuple(list(DATE_PARTS)[i] for i in parts)
    medians = np.median(found[:, parts], axis=0) if len(found) else np.zeros(len(parts))
    return FeatureColumn(str(series.name), parts=names, fill=tuple(map(float, medians)))


def _learn_categories(series: pd.Series[Any], missing: Mask, trained: Mask) -> FeatureColumn:
    """All texts of the training rows, or the most frequent ones."""
    counts: Counter[str] = Counter()
    for value, count in series[trained].value_counts().items():
        if count:  # a categorical column counts categories without rows, too
            counts[as_text(value)] += count
    texts = sorted_texts(counts)
    _refuse_misread_numbers(series, missing, texts)
    frequent = sorted(texts, key=lambda text: -counts[text])[:MOST_CATEGORIES]
    return FeatureColumn(
        str(series.name),
        categories=tuple(sorted_texts(frequent)),
        rarer=len(texts) - len(frequent),
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


def _refuse_misread_numbers(
    series: pd.Series[Any], missing: Mask, categories: Sequence[str]
) -> None:
    """Refuse texts most of which are numbers, in Python's notation or another, but not all.

    Raises:
        DataError: naming the first that is none, or the notation.
    """
    if len(categories) < FEWEST_NUMBERS:
        return
    numbers = require("pandas", "table").to_numeric(series, errors="coerce").notna()
    are_numbers = numbers[~missing].mean()
    are_codes = any(ZEROS_IN_FRONT.fullmatch(text) for text in categories)  # such as of post
    if are_numbers == 1 and len(categories) > MOST_CATEGORIES and not are_codes:
        raise DataError(
            f"column {series.name!r} holds numbers as texts, such as {categories[0]!r}; write them "
            "as numbers, or leave the column out with data.ignore."
        )
    if 0.5 < are_numbers < 1:
        row = int(np.argmax(~numbers & ~missing))
        raise DataError(
            f"column {series.name!r} looks like numbers but holds {series.iloc[row]!r} in row "
            f"{row} (counted from 0); {REMEDY}."
        )
    foreign = [text for text in categories if OTHER_NOTATION.fullmatch(text.strip())]
    if len(foreign) > len(categories) / 2 and are_numbers < 1:
        raise DataError(
            f"column {series.name!r} holds numbers in another notation, such as {foreign[0]!r}; "
            "write them as 1234.5 (pandas.read_csv takes decimal=',' and thousands='.'), or leave "
            "the column out with data.ignore."
        )
    dates = [text for text in categories if OTHER_DATES.fullmatch(text.strip())]
    if len(dates) > len(categories) / 2:
        raise DataError(
            f"column {series.name!r} holds dates in another notation, such as {dates[0]!r}; write "
            "them as 2026-01-31 (pandas.to_datetime reads them, with dayfirst=True where the day "
            "comes first), or leave the column out with data.ignore."
        )


def is_foreign_number(text: str) -> bool:
    """Whether a text is a number in another notation than Python's."""
    if not OTHER_NOTATION.fullmatch(text.strip()):
        return False
    try:
        float(text)
    except ValueError:
        return True
    return False


def are_dates(values: pd.Series[Any]) -> bool:
    """Whether texts are dates or times, every one."""
    return all(isinstance(value, str) and ISO.fullmatch(value.strip()) for value in values)
