"""Checks and conversions of one column's (or array's) values, with or without pandas."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdistil.errors import FOREIGN, BdistilError, DataError, told

LONGEST_BITS = 14_000


def as_column(values: Any, what: str = "x") -> Any:
    """Values as pandas or numpy hold them; lists as numbers, or as the objects that they hold.

    What is masked is missing.

    Raises:
        DataError: if they are of a kind that numpy cannot read, naming them as `what`.
    """
    if hasattr(values, "toarray"):
        raise DataError(f"{what} is a sparse {type(values).__name__}; give its toarray().")
    if isinstance(values, list | tuple) and any(isinstance(v, np.ma.MaskedArray) for v in values):
        values = np.ma.stack(values)
    if isinstance(values, np.ma.MaskedArray):
        return _with_gaps(values)
    if isinstance(values, np.ndarray) or hasattr(values, "isna"):
        return values
    if hasattr(values, "dtype"):
        return _read_by_numpy(values, what)
    try:
        column = np.asarray(values)
    except ValueError:  # lists within, of different lengths
        column = np.empty(0, object)
    if (column.dtype.kind in "biuf" and column.ndim > 0) or (
        column.dtype.kind == "O" and column.ndim > 1
    ):
        return column
    objects = np.empty(len(values), object)  # numpy would turn numbers beside text into text
    objects[:] = list(values)
    return objects


def _with_gaps(values: np.ma.MaskedArray[Any, Any]) -> NDArray[Any]:
    """None where a value is masked."""
    mask = np.ma.getmaskarray(values)
    if not mask.any():
        return values.data
    objects = values.data.astype(object)
    objects[mask] = None
    return objects


def _read_by_numpy(values: Any, what: str) -> NDArray[Any]:
    """A tensor or another library's array as numpy's."""
    try:
        return np.asarray(values)
    except FOREIGN as error:
        raise DataError(
            f"{what} is a {type(values).__name__} that numpy cannot read ({told(error)}); give an "
            "array."
        ) from None


def is_list(value: Any) -> bool:
    """Whether a cell holds several values in order: a list or an array, no text or structure."""
    several = hasattr(value, "__len__") and hasattr(value, "__getitem__")
    return several and not isinstance(value, str | bytes | Mapping)


def as_text(value: Any) -> str:
    """A value as people write it: "3" for 3 and 3.0, "True" for True."""
    if isinstance(value, int) and value.bit_length() > LONGEST_BITS:  # Python refuses to write it
        return f"a number of {value.bit_length():,} bits"
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, float | np.floating) and value.is_integer():
        return str(int(value))
    return str(value)


def sorted_texts(texts: Iterable[str]) -> list[str]:
    """Distinct texts in order: by number if every one is a number, else by alphabet."""
    distinct = sorted(set(texts))
    if any(_number_or_none(text) is None for text in distinct):
        return distinct
    return sorted(distinct, key=float)


def check_present(
    values: Any, what: str, remedy: str, error: type[BdistilError] = DataError
) -> None:
    """Refuse None, NaN and the like in a column.

    Raises:
        BdistilError: of the class given, with count and first row, if a value is missing.
    """
    _refuse(missing_values(values), "missing value", what, remedy, error)


def finite_numbers(
    values: Any, what: str, remedy: str, error: type[BdistilError] = DataError
) -> NDArray[np.float32]:
    """Numbers and booleans as float32, in the shape they came in.

    Args:
        values: a pandas Series or an array of any shape.
        what: names the values in messages, such as "column 'age'".
        remedy: ends the messages.
        error: class of the exception.

    Raises:
        BdistilError: of the class given, if a value is missing, infinite or no number.
    """
    array = np.asarray(as_column(values, what))
    if array.dtype.kind not in "biuf":
        check_present(values, what, remedy, error)
        if array.dtype.kind not in "OUST":
            raise error(f"{what} holds {array.dtype} values, not numbers; {remedy}.")
        array = _parsed(array, what, remedy, error)
    with np.errstate(over="ignore"):
        numbers = array.astype(np.float32, copy=False)
    if not np.isfinite(numbers).all():
        check_present(array, what, remedy, error)
        _refuse(~np.isfinite(numbers), "infinite value", what, remedy, error)
    return numbers


def numbers_or_nan(values: NDArray[Any]) -> NDArray[np.float32]:
    """Values of any type as float32, NaN where one is no finite number."""
    texts = ["nan" if value is None else str(value) for value in values.ravel()]
    numbers = [_number_or_none(text) for text in texts]
    filled = [np.nan if number is None else number for number in numbers]
    return np.array(filled, np.float32).reshape(values.shape)


def _number_or_none(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def missing_values(values: Any) -> NDArray[np.bool_]:
    """Where a value is None, NaN or the like, in the values' own shape."""
    if hasattr(values, "isna"):  # pandas, whose NA compares with nothing
        marks: NDArray[np.bool_] = np.asarray(values.isna())
        return marks
    array = np.asarray(values)
    if array.dtype.kind == "O":
        return np.array([_is_missing(value) for value in array.ravel()], bool).reshape(array.shape)
    if array.dtype.kind in "fc":
        marks = np.isnan(array)
        return marks
    return np.isnat(array) if array.dtype.kind in "mM" else np.zeros(array.shape, bool)


def _is_missing(value: Any) -> bool:
    try:
        return value is None or bool(value != value)
    except TypeError:  # pandas.NA, which is neither equal nor unequal to anything
        return True
    except ValueError:  # an array, as of a column of lists
        return False


def _refuse(
    bad: NDArray[np.bool_], kind: str, what: str, remedy: str, error: type[BdistilError]
) -> None:
    count = int(bad.sum())
    if count:
        row = int(np.argwhere(bad)[0, 0])
        kinds = kind if count == 1 else f"{kind}s, the first"
        raise error(f"{what} has {count} {kinds} in row {row} (counted from 0); {remedy}.")


def _parsed(
    array: NDArray[Any], what: str, remedy: str, error: type[BdistilError]
) -> NDArray[np.float64]:
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        place, value = next((i, v) for i, v in enumerate(array.ravel()) if not reads_as_number(v))
        row = place * len(array) // array.size
        raise error(
            f"{what} holds {as_text(value)!r} in row {row} (counted from 0), which is no number; "
            f"{remedy}."
        ) from None


def reads_as_number(value: Any) -> bool:
    """Whether a value is a number, or text of one as Python writes it."""
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True
