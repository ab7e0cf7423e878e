"""What features must be: columns of numbers that float32 tells apart."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from datetime import date, time, timedelta
from reprlib import repr as shortened
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdistil.data.learn_columns import LEAST_DISTINCT_SHARE
from bdistil.errors import BdistilWarning
from bdistil.runtime.values import missing_values, reads_as_number

IN_FIT = (
    "turn it into numbers by an encoder in a Pipeline, or give the table to `bdistil search "
    "--data`, which encodes columns by itself"
)
IN_PREDICT = "give numbers, as fit was given"
ENOUGH_ROWS = 10_000
"""By so many rows it shows whether a column's values are told apart."""
LARGEST = float(np.finfo(np.float32).max)


def check_numbers(x: Any, remedy: str) -> None:
    """Refuse a frame of pandas or polars with a column of anything but numbers.

    Text that is all numbers, which scikit-learn takes for them, is let through, and so are gaps, of
    which it speaks itself.

    Raises:
        ValueError: naming the first such column and what it holds.
    """
    if not all(hasattr(x, name) for name in ("columns", "dtypes", "shape")):
        return
    for place, name in enumerate(x.columns):
        content = _other_content(x.iloc[:, place] if hasattr(x, "iloc") else x[:, place])
        if content:
            raise ValueError(f"column {name!r} of X holds {content}, no numbers; {remedy}.")


def _other_content(column: Any) -> str | None:
    """What a Series holds that is no number, in words; None if all are numbers."""
    dtype = column.dtype
    if hasattr(dtype, "is_temporal"):  # polars
        if dtype.is_temporal():
            return f"dates or times ({dtype})"
        plain = dtype.is_numeric() or str(dtype) in ("Boolean", "Null")
    else:
        if dtype.kind in "mM":
            return f"dates or times ({dtype})"
        plain = dtype.kind in "biufc"  # complex ones scikit-learn refuses
    found = None if plain else first_no_number(np.asarray(column, dtype=object))
    return None if found is None else _described(found[1])


def _described(value: Any) -> str:
    if isinstance(value, date | time | timedelta | np.datetime64 | np.timedelta64):
        return f"dates or times ({shortened(str(value))})"
    kind = "text" if isinstance(value, str) else "values"
    return f"{kind} such as {shortened(value)}"


def first_no_number(values: NDArray[Any]) -> tuple[int, Any] | None:
    """The first of some objects that is neither a number, or text of one, nor missing.

    Returns:
        Its place among all values, read row by row, and itself; None if there is none.
    """
    try:
        values.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        known = ~missing_values(values).ravel()
        places = enumerate(values.ravel())
        return next((p for p in places if known[p[0]] and not reads_as_number(p[1])), None)
    return None


def as_float32(x: NDArray[np.float64], names: Iterable[str] | None) -> NDArray[np.float32]:
    """Features (N, d) as networks compute with them.

    Args:
        x: finite features.
        names: of the columns, where they have any.

    Raises:
        ValueError: naming the first column with values beyond float32.
    """
    columns = (
        [f"feature {place} of X (counted from 0)" for place in range(x.shape[1])]
        if names is None
        else [f"column {name!r} of X" for name in names]
    )
    largest = np.maximum(x.max(axis=0), -x.min(axis=0))
    if (beyond := np.flatnonzero(largest > LARGEST)).size:
        raise ValueError(
            f"{columns[beyond[0]]} holds numbers up to {largest[beyond[0]]:.3g} in size, beyond "
            f"the {LARGEST:.3g} of float32, in which networks compute; take another unit, or put "
            "MaxAbsScaler before the estimator in a Pipeline."
        )
    converted = x.astype(np.float32)
    _note_lost_digits(x, converted, columns)
    return converted


def _note_lost_digits(
    x: NDArray[np.float64], converted: NDArray[np.float32], columns: Sequence[str]
) -> None:
    """Say which columns differ too little beside their size."""
    step = max(1, len(x) // ENOUGH_ROWS)
    lost = [
        place for place in range(x.shape[1]) if _loses(x[::step, place], converted[::step, place])
    ]
    if not lost:
        return
    first = lost[0]
    before, after = len(np.unique(x[:, first])), len(np.unique(converted[:, first]))
    others = f", and so with {len(lost) - 1:,} more" if len(lost) > 1 else ""
    warnings.warn(
        f"{columns[first]} has {before} different values, of which float32 keeps only {after} "
        f"apart{others}; subtract a constant from it, or put StandardScaler before the estimator "
        "in a Pipeline.",
        BdistilWarning,
        stacklevel=2,
    )


def _loses(before: NDArray[np.float64], after: NDArray[np.float32]) -> bool:
    """Whether float32 takes many different values of a column for equal ones."""
    if np.array_equal(before, after):
        return False
    return len(np.unique(after)) < LEAST_DISTINCT_SHARE * len(np.unique(before))
