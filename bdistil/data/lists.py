"""Columns whose values are lists."""

from __future__ import annotations

from numbers import Number
from typing import TYPE_CHECKING, Any

import numpy as np

from bdistil.runtime.values import is_list, missing_values

if TYPE_CHECKING:
    import pandas as pd


def is_nested(values: pd.Series[Any]) -> bool:
    """Whether the values are lists, arrays or structures."""
    if values.dtype.kind != "O":
        return False
    return any(hasattr(value, "__len__") and not isinstance(value, str | bytes) for value in values)


def holds_numbers(values: pd.Series[Any]) -> bool:
    """Whether all values that are there are lists of numbers, maybe with gaps."""
    there = values[~missing_values(values)]
    if not all(is_list(value) and _are_numbers(value) for value in there):
        return False
    return any(each is not None for value in there for each in value)


def holds_vectors(values: pd.Series[Any]) -> bool:
    """Whether all values that are there are lists of vectors, all of one length."""
    there = values[~missing_values(values)]
    if not all(is_list(value) for value in there):
        return False
    vectors = [vector for value in there for vector in value]
    if not all(is_list(vector) and _are_numbers(vector) for vector in vectors):
        return False
    return len({len(vector) for vector in vectors}) == 1 and len(vectors[0]) > 0


def _are_numbers(value: Any) -> bool:
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return value.ndim == 1
    return all(each is None or isinstance(each, Number | np.bool_) for each in value)


def lengths_of(values: pd.Series[Any]) -> set[int]:
    """The different lengths of lists; where a value is missing, 0."""
    return {len(value) if is_list(value) else 0 for value in values}
