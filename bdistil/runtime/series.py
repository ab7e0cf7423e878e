"""Rows of a table as the steps of series, put together the way that training did it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Number
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdistil.errors import DataError
from bdistil.runtime.dates import ISO, as_times
from bdistil.runtime.values import as_column, as_text, check_present, is_list

REMEDY = "correct these values or drop their rows"
WHOLE, DECIMAL = re.compile(r"[-+]?\d+"), re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
KINDS = (WHOLE, DECIMAL, ISO)
Codes = NDArray[np.int64]


@dataclass(frozen=True)
class SeriesRule:
    """Which rows are one series, and how long it is.

    Attributes:
        steps: T, of every series: longer ones are cut at the end, shorter ones get zeros in front.
        column: that tells whose step a row is; None where a row is a series and holds lists.
        time: column by which the steps of a series are sorted; None leaves them as they stand.
        across: whether each row is a series whose columns are its steps, of one feature.
    """

    steps: int
    column: str | None = None
    time: str | None = None
    across: bool = False

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"series of {self.steps} steps")


@dataclass(frozen=True)
class Steps:
    """The steps of all series, one series after another in the order of their first steps' rows.

    Attributes:
        table: columns of steps, as they stand.
        order: row of `table` that each step is, int64 (S,).
        series: number of each step's series, ascending, int64 (S,).
        first: row of the user's table with each series' first step, int64 (N,).
        tied: steps with the time of the one before.
    """

    table: Any
    order: Codes
    series: Codes
    first: Codes
    tied: int = 0

    @property
    def lengths(self) -> Codes:
        """Steps of each series, int64 (N,)."""
        return np.bincount(self.series, minlength=len(self.first))


def lay_out(table: Any, rule: SeriesRule, names: Sequence[str]) -> Steps:
    """Find the steps of a table's series.

    Args:
        table: anything that has ``name in table`` and ``table[name]``.
        rule: which rows are one series.
        names: columns of which lists are laid out; of those without, the value is every step's.

    Raises:
        DataError: if the column of the series or of the time is missing or lacks values, or lists
            differ in length.
    """
    if rule.column is None:
        return _of_lists({name: _column(table, name) for name in names if name in table})
    for name, use in ((rule.column, "tells whose step a row is"), (rule.time, "sorts steps")):
        if name is not None and name not in table:
            raise DataError(f"the table lacks column {name!r}, which {use}; add it.")
    whose = _numbered(_column(table, rule.column), f"column {rule.column!r}")
    order, tied = np.argsort(whose, kind="stable"), 0
    if rule.time is not None:
        time = sortable_times(_column(table, rule.time), f"column {rule.time!r}")
        if len(time) != len(whose):
            raise DataError(f"columns {rule.column!r} and {rule.time!r} differ in length.")
        order = np.lexsort((time, whose))
        same = (whose[order][1:] == whose[order][:-1]) & (time[order][1:] == time[order][:-1])
        tied = int(same.sum())
    series = whose[order]
    return Steps(table, order, series, order[np.flatnonzero(np.diff(series, prepend=-1))], tied)


def fold(values: NDArray[Any], series: Codes, count: int, steps: int) -> NDArray[Any]:
    """Values of steps (S, ...) as those of series (N, T, ...), zeros in front of shorter ones.

    Args:
        values: of the steps, one series after another.
        series: number of each step's series, ascending.
        count: N.
        steps: T; of longer series the first steps are kept.
    """
    lengths = np.bincount(series, minlength=count)
    starts = np.cumsum(lengths) - lengths
    place = np.arange(len(series)) - starts[series]
    kept = place < steps
    whose = series[kept]
    folded = np.zeros((count, steps, *values.shape[1:]), values.dtype)
    folded[whose, place[kept] + (steps - lengths[whose]).clip(0)] = values[kept]
    return folded


def sortable_times(values: Any, what: str) -> NDArray[Any]:
    """Numbers or times (N,) that can be sorted; text is read as ISO 8601 writes it.

    Raises:
        DataError: if a value is missing or neither.
    """
    check_present(as_column(values, what), what, REMEDY)
    if getattr(getattr(values, "dtype", None), "tz", None) is not None and hasattr(values, "dt"):
        values = values.dt.tz_convert(None)
    array = np.asarray(values)
    if array.dtype.kind in "biufMm":
        return array
    if all(isinstance(value, str) for value in array):
        array = _parsed(array, what)
    if all(isinstance(value, Number) for value in array):  # float64 has not all whole numbers
        ranks: NDArray[np.int64] = np.unique(array, return_inverse=True)[1]
        return ranks
    try:
        return as_times(values, what, REMEDY)
    except DataError as error:
        raise DataError(f"{error} Numbers can be sorted, too.") from None


def _parsed(texts: NDArray[Any], what: str) -> NDArray[Any]:
    """Texts that are all numbers as these, others that are all times as they are.

    Raises:
        DataError: naming the first that is neither, or a time among numbers.
    """
    kinds = [next((kind for kind in KINDS if kind.fullmatch(text.strip())), None) for text in texts]
    if {*kinds} <= {WHOLE, DECIMAL}:
        read: Any = int if {*kinds} == {WHOLE} else float
        numbers = np.empty(len(texts), object)
        numbers[:] = [read(text) for text in texts]
        return numbers
    if {*kinds} == {ISO}:
        return texts
    wrong = next((t for t, kind in zip(texts, kinds, strict=True) if kind is None), None)
    if wrong is None:
        raise DataError(f"{what} holds numbers and times, which cannot be sorted; {REMEDY}.")
    raise DataError(
        f"{what} holds {wrong!r}, which is neither a number nor a time as 2026-11-25T13:30; "
        f"{REMEDY}."
    )


def _column(table: Any, name: str) -> Any:
    values = table[name]
    if isinstance(values, str | bytes | Mapping) or not hasattr(values, "__len__"):
        raise DataError(f"column {name!r} is {values!r}, one value; give a list, one value a row.")
    return as_column(values, f"column {name!r}")


def _numbered(values: Any, what: str) -> Codes:
    """A number for each series in the order of first rows, int64 (rows,)."""
    values = as_column(values, what)
    check_present(values, what, REMEDY)
    known: dict[str, int] = {}
    texts = (value.hex() if isinstance(value, bytes) else as_text(value) for value in values)
    codes = (known.setdefault(text, len(known)) for text in texts)
    return np.fromiter(codes, np.int64, len(values))


def _of_lists(columns: Mapping[str, Any]) -> Steps:
    """Steps of rows whose values are lists, all of a row equally long."""
    lists = {name: own for name, own in columns.items() if any(map(is_list, own))}
    if not lists:
        raise DataError(
            "no column holds lists, which training took for series; give a list of steps a row."
        )
    rows = {name: len(own) for name, own in columns.items()}
    if len({*rows.values()}) > 1:
        shown = ", ".join(map(str, rows.values()))
        raise DataError(f"the columns differ in length ({shown}); give one value a row.")
    lengths = np.array([*map(list, zip(*(_lengths(*item) for item in lists.items()), strict=True))])
    first, *_ = lists
    for row, own in enumerate(lengths):
        if len({*own.tolist()}) > 1:
            found = " and ".join(f"{n} in {name!r}" for name, n in zip(lists, own, strict=True))
            raise DataError(
                f"the lists in row {row} (counted from 0) differ in length, {found}; give each "
                "step a value in every column."
            )
        if not own[0]:
            raise DataError(
                f"column {first!r} holds an empty list in row {row} (counted from 0); drop the row."
            )
    series = np.repeat(np.arange(len(lengths)), lengths[:, 0])
    steps = {
        name: _joined(own) if name in lists else np.asarray(own)[series]
        for name, own in columns.items()
    }
    return Steps(steps, np.arange(len(series)), series, np.arange(len(lengths)))


def _lengths(name: str, values: Any) -> Iterator[int]:
    for row, value in enumerate(values):
        if not is_list(value):
            raise DataError(
                f"column {name!r} holds {as_text(value)!r} in row {row} (counted from 0), no list "
                "as other rows do; correct or drop the row."
            )
        yield len(value)


def _joined(values: Any) -> NDArray[Any]:
    """All values of the lists; those of lists in lists stay lists, to be refused."""
    parts = [np.asarray(as_column(value)) for value in values]
    if all(part.ndim == 1 and part.dtype.kind in "biuf" for part in parts):
        return np.concatenate(parts)
    flat = [value for part in parts for value in part]
    joined = np.empty(len(flat), object)
    joined[:] = flat
    return joined
