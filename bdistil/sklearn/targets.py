"""Labels and targets of other types than numpy's, which scikit-learn takes for others."""

from __future__ import annotations

from numbers import Integral, Number
from reprlib import repr as shortened
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import column_or_1d

from bdistil.errors import DataError
from bdistil.runtime.values import check_present, missing_values
from bdistil.sklearn.features import first_no_number


def as_labels(y: Any) -> Any:
    """Labels of one type; booleans and numbers in objects or nullable types become numpy's.

    What is no list of labels, or of a type that scikit-learn has its own word about, comes back as
    it is, and so do texts.

    Raises:
        ValueError: if a label is missing, or some are of another type than others.
    """
    if y is None or hasattr(y, "toarray"):
        return y
    values = _array_of(y)
    if values.ndim == 2:
        flat = column_or_1d(y, warn=True)  # which would turn nullable types into floats
        y = y.iloc[:, 0] if hasattr(y, "iloc") else flat
        values = _array_of(y)
    if values.ndim != 1:
        return y
    missing = missing_values(values)
    if missing.any():
        raise ValueError(
            f"y has a missing label in row {int(missing.argmax())} (counted from 0); drop such "
            "rows, or give them a label of their own."
        )
    return values if values.dtype.kind != "O" else _of_one_type(values, y)


def _array_of(y: Any) -> NDArray[Any]:
    """Values as objects wherever a type of numpy's would turn some into others."""
    is_plain = isinstance(getattr(y, "dtype", None), np.dtype)
    return np.asarray(y) if is_plain else np.asarray(y, dtype=object)


def _of_one_type(values: NDArray[Any], given: Any) -> Any:
    kinds = [_kind(value) for value in values]
    if len(set(kinds)) > 1:
        row = next(row for row, kind in enumerate(kinds) if kind != kinds[0])
        first, other = _told(values[0], kinds[0]), _told(values[row], kinds[row])
        raise ValueError(
            f"y holds {first} in row 0 and {other} in row {row} (counted from 0); give labels of "
            "one type, such as all as texts."
        )
    if kinds[:1] == ["boolean"]:
        return values.astype(bool)
    if kinds[:1] == ["number"]:
        return _numbers(values, given)
    return given


def _kind(value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return "boolean"
    if isinstance(value, Number):
        return "number"
    return "text" if isinstance(value, str) else type(value).__name__


def _told(value: Any, kind: str) -> str:
    return f"the {kind} {shortened(value.item() if isinstance(value, np.generic) else value)}"


def _numbers(values: NDArray[Any], given: Any) -> Any:
    if all(isinstance(value, Integral) for value in values):
        return np.array(values.tolist())
    try:
        return values.astype(np.float64)
    except (TypeError, ValueError):  # complex ones, which scikit-learn refuses
        return given


def as_targets(y: Any) -> Any:
    """Targets as numbers: booleans are 0 and 1, texts of numbers the numbers.

    Raises:
        ValueError: naming the first that is missing or no number.
    """
    if y is None or hasattr(y, "toarray"):
        return y
    values = np.asarray(y)
    if values.dtype.kind in "mM":
        raise ValueError(
            f"y holds dates or times ({values.dtype}), but targets of a regressor are numbers; "
            "give the days or seconds since a date."
        )
    if values.dtype.kind not in "bOUS":
        return y
    if values.dtype.kind != "b" and (found := first_no_number(values)):
        place, value = found
        value = value.item() if isinstance(value, np.generic) else value
        row = place * len(values) // values.size
        raise ValueError(
            f"y holds {shortened(value)} in row {row} (counted from 0), but targets of a regressor "
            "are numbers; correct it, or take BDistilClassifier if they are classes."
        )
    try:
        check_present(values, "y", "drop these rows")
    except DataError as error:
        raise ValueError(str(error)) from None
    return values.astype(np.float64)
