"""Dates and times as numbers: their parts, in UTC."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdistil.errors import DataError
from bdistil.runtime.values import as_text

Times = NDArray[np.datetime64]

ISO = re.compile(
    r"\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}(:\d{2}([.,]\d{1,9})?)?( ?(Z|UTC|[-+]\d{2}:?\d{2}))?)?"
)
"""Texts that are dates or times."""
_OFFSET = re.compile(r" ?([-+]\d{2}):?(\d{2})$")


def _since(times: Times, whole: str, unit: str) -> NDArray[np.int64]:
    """How many units of time have passed since the last whole one began, int64 (N,)."""
    passed = times.astype(f"M8[{unit}]") - times.astype(f"M8[{whole}]").astype(f"M8[{unit}]")
    counts: NDArray[np.int64] = passed.astype(np.int64)
    return counts


DATE_PARTS: dict[str, Callable[[Times], NDArray[np.int64]]] = {
    "year": lambda times: times.astype("M8[Y]").astype(np.int64) + 1970,
    "month": lambda times: _since(times, "Y", "M") + 1,
    "day": lambda times: _since(times, "M", "D") + 1,
    "weekday": lambda times: (times.astype("M8[D]").astype(np.int64) + 3) % 7,
    "hour": lambda times: _since(times, "D", "h"),
    "minute": lambda times: _since(times, "h", "m"),
    "second": lambda times: _since(times, "m", "s"),
}
"""What a time is made of; a week begins with Monday, 0."""


def date_parts(times: Times, parts: Sequence[str]) -> NDArray[np.float32]:
    """The named parts, float32 (N, len(parts)); NaN where there is no time."""
    missing = np.isnat(times)
    filled = np.where(missing, np.datetime64(0, "us"), times)
    found = np.stack([DATE_PARTS[part](filled) for part in parts], axis=1).astype(np.float32)
    found[missing] = np.nan
    return found


def as_times(values: Any, what: str, remedy: str) -> Times:
    """Times of any form as datetime64[us] in UTC, (N,); NaT where one is missing.

    Args:
        values: datetime64, date or datetime objects, ISO texts, or a pandas Series of them.
        what: names the values in messages, such as "column 'ordered'".
        remedy: ends the messages.

    Raises:
        DataError: if a value is no time.
    """
    array = np.asarray(values)
    if array.dtype.kind == "M":
        return array.astype("M8[us]")
    return np.array(
        [_as_time(value, row, what, remedy) for row, value in enumerate(array.ravel())], "M8[us]"
    )


def _as_time(value: Any, row: int, what: str, remedy: str) -> np.datetime64:
    if value is None or value != value or value == "":  # NaN and NaT are not equal to themselves
        return np.datetime64("NaT", "us")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy's, that it turns zones into UTC
            return np.datetime64(_in_numpys_form(value), "us")
    except (TypeError, ValueError):
        raise DataError(
            f"{what} holds {as_text(value)!r} in row {row} (counted from 0), which is no date as "
            f"2026-11-25 or 2026-11-25T13:30; {remedy}."
        ) from None


def _in_numpys_form(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = re.sub(r" ?(Z|UTC)$", "", value.strip()).replace(",", ".")
    offset = _OFFSET.search(text) if len(text) > len("2026-11-25") else None
    if offset is None:
        return text
    minutes = int(offset[1]) * 60 + int(offset[1][0] + offset[2])
    return np.datetime64(text[: offset.start()], "us") - np.timedelta64(minutes, "m")
