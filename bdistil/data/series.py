"""Series in the user's own table: steps in rows of their own, or in lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bdistil.data.lists import holds_numbers, is_nested, lengths_of
from bdistil.data.own import check_unset
from bdistil.data.roles import check_known
from bdistil.errors import DataError
from bdistil.files.column_file import ColumnFile
from bdistil.files.table_files import Table
from bdistil.files.wording import some
from bdistil.runtime.series import SeriesRule, Steps, lay_out
from bdistil.runtime.values import as_text, missing_values
from bdistil.spec import DataSpec

if TYPE_CHECKING:
    import pandas as pd

SEQUENCES = ("sequence", "NTF")
"""What `data.layout` may be in a table."""
MOST_KEEP = 0.95
"""Share of the series that are no longer than those whose length all get, if some are far longer"""
FAR_LONGER = 2.0


@dataclass(frozen=True)
class SeriesTable:
    """A table whose rows, or the lists in them, are steps.

    Attributes:
        steps: a row a step, one series after another.
        examples: a row a series: its first, with what all of its rows agree on.
        layout: which step belongs to which series.
        rule: which rows are one series, and how long it is.
    """

    steps: Table
    examples: Table
    layout: Steps
    rule: SeriesRule


def find_series(table: Table, spec: DataSpec, teacher: Sequence[str]) -> SeriesTable | None:
    """The series of a table; None if each of its rows is an example of its own.

    Args:
        table: as read.
        spec: that names a column of series, or not.
        teacher: columns of a teacher's outputs.

    Raises:
        SpecError: if series are named in a table of photographs or recordings.
        DataError: if a column is missing, or the rows of a series differ in their label, split,
            group or weight.
    """
    if table.media:
        check_unset(spec, ("series", "time"), "holds photographs or recordings")
        return None
    frame = table.frame
    if spec.series is None:
        lists = [] if isinstance(frame, ColumnFile) else _lists(table, frame, spec)
        return _with_series(table, frame, lists, spec) if lists else None
    for key, name in (("series", spec.series), ("time", spec.time)):
        check_known([] if name is None else [name], list(frame.columns), f"data.{key}")
    check_unset(spec, ["layout"], "is a table with data.series")
    if isinstance(frame, ColumnFile):
        frame = frame.read(frame.columns)
    series = _with_series(table, frame, [], spec)
    _check_agreeing(series, spec, teacher)
    return series


def _with_series(
    table: Table, frame: pd.DataFrame | ColumnFile, lists: Sequence[str], spec: DataSpec
) -> SeriesTable:
    assert not isinstance(frame, ColumnFile)
    check_unset(spec, ["size", "seconds"], "is a table")
    rule = SeriesRule(1, spec.series, spec.time)
    layout = lay_out(frame, rule, lists)
    rule = replace(rule, steps=_length(layout.lengths))
    steps = frame.iloc[layout.rows].reset_index(drop=True)
    steps = steps.assign(**{name: _inferred(layout.table[name]) for name in lists})
    examples = frame.iloc[layout.first].reset_index(drop=True)
    agreed = [name for name in examples if name not in lists and _agrees(steps[name], layout)]
    parts = table.parts
    if parts is not None:
        if not _agrees(parts[layout.rows], layout):
            raise DataError(
                f"rows of one {spec.series} stand in files of different splits; keep them in one."
            )
        parts = parts[layout.first]
    notes = [*table.notes, _said(layout, rule)]
    return SeriesTable(
        replace(table, frame=steps, parts=None, whole=examples[agreed]),
        replace(table, frame=examples, parts=parts, notes=notes),
        layout,
        rule,
    )


def _lists(table: Table, frame: pd.DataFrame, spec: DataSpec) -> list[str]:
    """Columns that hold series as lists of numbers.

    Raises:
        DataError: if all are of one length, so that they may as well be vectors, and nothing says
            which they are.
    """
    if spec.layout == "vector":
        return []
    named = {*spec.labels, *spec.ignore, spec.split, spec.group, spec.order, spec.weight}
    names = [name for name in frame.columns if name not in named and frame[name].dtype.kind == "O"]
    names = [name for name in names if spec.features is None or name in spec.features]
    lists = [name for name in names if is_nested(frame[name]) and holds_numbers(frame[name])]
    if not lists or table.of_series or spec.layout in SEQUENCES:
        return lists
    if all(len(lengths_of(frame[name])) == 1 for name in lists):
        raise DataError(
            f"lists of numbers, all of one length, stand in {some(lists)}: vectors, such as "
            "embeddings, or the steps of series; set data.layout=vector or data.layout=sequence, "
            "or leave them out with data.ignore."
        )
    return lists


def _inferred(values: NDArray[Any]) -> Any:
    """Numbers with None among them as floats."""
    if values.dtype.kind != "O":
        return values
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _check_agreeing(series: SeriesTable, spec: DataSpec, teacher: Sequence[str]) -> None:
    """Refuse labels and the like that change within a series."""
    steps, layout = series.steps.frame, series.layout
    named = [("data.label", name) for name in spec.labels]
    named += [("teacher.columns", name) for name in teacher]
    named += [(f"data.{key}", getattr(spec, key)) for key in ("split", "group", "weight")]
    for key, name in named:
        if name is None or name not in steps or _agrees(steps[name], layout):
            continue
        first = _of_first_steps(steps[name], layout)
        row = int(np.argmax(_differ(steps[name], first)))
        both = " and ".join(as_text(np.asarray(values)[row]) for values in (first, steps[name]))
        raise DataError(
            f"column {name!r} ({key}) holds {both} in steps of {spec.series} "
            f"{as_text(np.asarray(steps[str(spec.series)])[row])!r}, but a series has one; give "
            "windows with values of their own an identifier each."
        )


def _agrees(values: Any, layout: Steps) -> bool:
    """Whether all steps of each series have one value."""
    return not _differ(values, _of_first_steps(values, layout)).any()


def _of_first_steps(values: Any, layout: Steps) -> Any:
    """For each step the value of its series' first one."""
    starts = np.cumsum(layout.lengths) - layout.lengths
    return np.asarray(values, object)[starts[layout.series]]


def _differ(values: Any, others: NDArray[Any]) -> NDArray[np.bool_]:
    both_missing = missing_values(values) & missing_values(others)
    return np.asarray(np.asarray(values, object) != others) & ~both_missing


def _length(lengths: NDArray[np.int64]) -> int:
    """The longest, unless few are far longer than the others."""
    longest = int(lengths.max())
    usual = int(np.quantile(lengths, MOST_KEEP, method="higher"))
    return longest if longest <= FAR_LONGER * usual else usual


def _said(layout: Steps, rule: SeriesRule) -> str:
    lengths = layout.lengths
    short, long = int(lengths.min()), int(lengths.max())
    many = f"{short:,}" if short == long else f"{short:,} to {long:,}"
    what = f"rows are the steps of {len(lengths):,} series by {rule.column}"
    if rule.column is None:
        what = f"values of lists are the steps of {len(lengths):,} series"
    said = f"{len(layout.series):,} {what}, {many} each"
    if rule.time:
        said += f", sorted by {rule.time}"
    if short < rule.steps:
        said += "; shorter ones have zeros in front"
    if cut := int((lengths > rule.steps).sum()):
        said += f"; {cut:,} are cut to their first {rule.steps:,} steps"
    return said
