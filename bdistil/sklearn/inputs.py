"""What estimators are given, checked and as numpy keeps it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_classifier

from bdistil.errors import BdistilWarning
from bdistil.runtime.values import as_text, missing_values

Array = NDArray[Any]
LARGEST = float(np.finfo(np.float32).max)
FEW_ROUNDINGS = 1e4
"""Of float32: a spread above so many keeps nearly all values apart."""
LEAST_KEPT = 0.9
"""Share of the different values that float32 must keep apart."""


def as_labels(y: Any) -> Any:
    """Labels of classes: objects and nullable ones as the booleans, numbers or texts they are.

    Raises:
        ValueError: if one is missing, or they are of several kinds.
    """
    values = np.asarray(y)
    if values.dtype.kind != "O" or values.ndim != 1:
        return values if hasattr(y, "dtype") and not isinstance(y.dtype, np.dtype) else y
    missing = missing_values(values)
    if missing.any():
        raise ValueError(
            f"y has a missing label in row {int(missing.argmax())} (counted from 0); give it one, "
            "or drop the row."
        )
    for kind, dtype in ((bool | np.bool_, bool), (Integral, np.int64), (Real, np.float64)):
        if all(isinstance(value, kind) for value in values):
            return values.astype(dtype)
    kinds = sorted({type(value).__name__ for value in values})
    if len(kinds) > 1:
        raise ValueError(f"y mixes labels of the types {' and '.join(kinds)}; give one type.")
    return y


def as_targets(y: Any) -> Any:
    """Targets of a regression; booleans as 0 and 1.

    Raises:
        ValueError: if one is text.
    """
    values = np.asarray(y)
    if values.dtype.kind == "b":
        return values.astype(np.float64)
    if values.dtype.kind in "OUS":
        texts = [value for value in values.ravel() if isinstance(value, str | bytes)]
        if texts:
            raise ValueError(
                f"y holds the text {as_text(texts[0])!r}, but a regression needs numbers; convert "
                "them, or take BDistilClassifier."
            )
        if all(isinstance(value, bool | np.bool_) for value in values.ravel()):
            return values.astype(np.float64)
    return y


def check_columns(x: Any) -> None:
    """Refuse columns of a frame that hold texts or dates.

    Raises:
        ValueError: naming the first.
    """
    for name in getattr(x, "columns", ()):
        values = np.asarray(x[name])
        held = "dates" if values.dtype.kind in "mM" else ""
        if values.dtype.kind in "US" or any(isinstance(value, str) for value in _objects(values)):
            held = "text"
        if held:
            raise ValueError(
                f"column {str(name)!r} of X holds {held}, but estimators take numbers; encode it in"
                " a Pipeline (such as OneHotEncoder), leave it out, or search the table itself by "
                "`bdistil search --data`, which encodes such columns."
            )


def _objects(values: Array) -> Array:
    return values if values.dtype.kind == "O" else np.empty(0)


def check_float32(x: Array, names: Sequence[str] | None) -> None:
    """See that float32, in which networks compute, tells the features' values apart.

    A column that it does not is named in a warning.

    Raises:
        ValueError: if values are beyond its range.
    """

    def named(column: int) -> str:
        return f"feature {column} of X" if names is None else f"column {str(names[column])!r} of X"

    largest = np.abs(x).max(axis=0)
    if (largest > LARGEST).any():
        column = int((largest > LARGEST).argmax())
        raise ValueError(
            f"{named(column)} holds numbers up to {largest[column]:.3g} in size, beyond float32's "
            "range; scale it, as by StandardScaler in a Pipeline."
        )
    spread = x.std(axis=0)
    narrow = spread < FEW_ROUNDINGS * np.finfo(np.float32).eps * largest
    for column in map(int, np.flatnonzero(narrow)):
        own = x[:, column]
        before, after = len(np.unique(own)), len(np.unique(own.astype(np.float32)))
        if after < LEAST_KEPT * before:
            warnings.warn(
                f"{named(column)} has {before} different values, of which float32 keeps only "
                f"{after} apart; subtract a constant from it (StandardScaler in a Pipeline).",
                BdistilWarning,
                stacklevel=4,
            )


def check_parameters(teacher: Any, ladder: Any, validation_fraction: Any) -> None:
    """Refuse parameters of an estimator that are of another kind.

    Raises:
        ValueError: naming the parameter.
    """
    if isinstance(teacher, type):
        raise ValueError(
            f"teacher is the class {teacher.__name__}; give an object of it, {teacher.__name__}()."
        )
    if teacher is not None and not (hasattr(teacher, "fit") and hasattr(teacher, "predict")):
        raise ValueError(
            f"teacher is {teacher!r}, no scikit-learn estimator; give one, or None for a network "
            "that is trained here (overrides={'teacher.model': ...} names which)."
        )
    if ladder is not None and (isinstance(ladder, str) or not hasattr(ladder, "__iter__")):
        raise ValueError(f"ladder is {ladder!r}; give the widths of the classes, such as (8, 16).")
    is_number = isinstance(validation_fraction, Real) and not isinstance(validation_fraction, bool)
    if not is_number or not 0 < validation_fraction < 1:
        raise ValueError(
            f"validation_fraction is {validation_fraction!r}; choose one between 0 and 1."
        )


def check_regressor(teacher: Any) -> None:
    """Refuse a classifier, whose classes are no targets.

    Raises:
        ValueError: if it is one.
    """
    if is_classifier(teacher):
        raise ValueError(
            f"teacher {teacher} is a classifier; choose a regressor, or BDistilClassifier."
        )
