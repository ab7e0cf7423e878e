"""Rows of a table as the steps of series, put together the way that training did it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdistil.errors import DataError
from bdistil.runtime.dates import as_times
from bdistil.runtime.values import as_column, as_text, check_present, is_list

REMEDY = "correct these values or drop their rows"
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
    """The steps of all series, one series after another in the order of their first rows.

    Attributes:
        table: values (S,) by column, of each step.
        rows: row of the table that each step stands in, int64 (S,).
        series: number of each step's series, ascending, int64 (S,).
        first: row of the table that is each series' first step, int64 (N,).
    """

    table: Mapping[str, Any]
    rows: Codes
    series: Codes
    first: Codes

    @property
    def lengths(self) -> Codes:
        """Steps of each series, int64 (N,)."""
        return np.bincount(self.series, minlength=len(self.first))


def lay_out(table: Any, rule: SeriesRule, names: Sequence[str]) -> Steps:
    """Find the steps of a table's series.

    Args:
        table: anything that has ``name in table`` and ``table[name]``.
        rule: which rows are one series.
        names: columns to lay out; of those that hold no lists, where others do, the value is that
            of every step.

    Raises:
        DataError: if the column of the series or of the time is missing or lacks values, or lists
            differ in length.
    """
    present = [name for name in names if name in table]  # what else is lacking is told elsewhere
    if rule.column is None:
        return _of_lists({name: as_column(table[name], f"column {name!r}") for name in present})
    for key, name in (("series", rule.column), ("time", rule.time)):
        if name is not None and name not in table:
            raise DataError(
                f"the table lacks column {name!r}, by which steps are put into {key}; add it."
            )
    whose = _numbered(table[rule.column], f"column {rule.column!r}")
    time = None if rule.time is None else sortable_times(table[rule.time], f"column {rule.time!r}")
    if time is not None and len(time) != len(whose):
        raise DataError(f"columns {rule.column!r} and {rule.time!r} differ in length.")
    order = np.argsort(whose, kind="stable") if time is None else np.lexsort((time, whose))
    series = whose[order]
    values = {name: np.asarray(as_column(table[name], f"column {name!r}")) for name in present}
    for name, own in values.items():
        if np.shape(own)[:1] != whose.shape:
            raise DataError(f"columns {rule.column!r} and {name!r} differ in length.")
    first = order[np.flatnonzero(np.diff(series, prepend=-1))]
    return Steps({name: own[order] for name, own in values.items()}, order, series, first)


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
    array = np.asarray(values)
    return array if array.dtype.kind in "biufM" else as_times(values, what, REMEDY)


def _numbered(values: Any, what: str) -> Codes:
    """A number for each series in the order of first rows, int64 (rows,)."""
    values = as_column(values, what)
    check_present(values, what, REMEDY)
    known: dict[str, int] = {}
    codes = (known.setdefault(as_text(value), len(known)) for value in values)
    return np.fromiter(codes, np.int64, len(values))


def _of_lists(columns: Mapping[str, Any]) -> Steps:
    """Steps of rows whose values are lists, all of a row equally long."""
    lists = {name: own for name, own in columns.items() if any(map(is_list, own))}
    if not lists:
        raise DataError(
            "no column holds lists, which training took for series; give a list of steps a row."
        )
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
    return Steps(steps, series, series, np.arange(len(lengths)))


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
