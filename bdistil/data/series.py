"""Series in the user's own table: steps in rows of their own, or in lists."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bdistil.data.lists import holds_numbers, holds_vectors, is_nested, lengths_of
from bdistil.data.own import check_unset
from bdistil.data.roles import check_known
from bdistil.data.unlabelled import without_unlabelled
from bdistil.errors import DataError
from bdistil.files.column_file import ColumnFile
from bdistil.files.table_files import Table
from bdistil.files.wording import some
from bdistil.runtime.series import SeriesRule, Steps, lay_out
from bdistil.runtime.values import as_text, is_list, missing_values
from bdistil.spec import DataSpec
from bdistil.words import counted

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
        steps: a row a step, in any order.
        examples: a row a series: that of its first step.
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
        table: as read, in memory if it is to hold series.
        spec: that names a column of series, or not.
        teacher: columns of a teacher's outputs.

    Raises:
        SpecError: if series are named in a table of photographs or recordings, or a layout that
            series have not.
        DataError: if a column is missing, or the rows of a series differ in their label, split,
            group or weight.
    """
    if table.media:
        check_unset(spec, ("series", "time"), "holds photographs or recordings")
        return None
    frame = table.frame
    if isinstance(frame, ColumnFile):
        return None
    lists = _lists(frame, spec, teacher)
    if spec.series is None:
        if not lists or not (table.of_series or _are_series(frame, lists, spec)):
            return None
        check_unset(spec, [] if spec.layout in SEQUENCES else ["layout"], "holds lists of steps")
        return _with_series(without_unlabelled(table, spec), lists, spec)
    _check_columns(frame, spec)
    check_unset(spec, ["layout"], "is a table with data.series")
    _check_agreeing(frame, lay_out(frame, SeriesRule(1, spec.series), ()), spec, teacher)
    return _with_series(without_unlabelled(table, spec), [], spec)


def in_memory(table: Table, spec: DataSpec) -> Table:
    """The table read as a whole if it is to hold series, which are made from all columns."""
    frame = table.frame
    if not isinstance(frame, ColumnFile) or table.media:
        return table
    lists = set(frame.of_lists) - {*spec.ignore}
    series = spec.series is not None or spec.layout in SEQUENCES
    if not series and (not lists or spec.layout == "vector"):
        return table
    return replace(table, frame=frame.read(frame.columns))


def _with_series(table: Table, lists: Sequence[str], spec: DataSpec) -> SeriesTable:
    frame = table.frame
    assert not isinstance(frame, ColumnFile)
    check_unset(spec, ["size", "seconds"], "is a table")
    rule = SeriesRule(1, spec.series, spec.time)
    layout = lay_out(frame, rule, lists)
    rule = replace(rule, steps=_length(layout.lengths))
    steps = frame
    if lists:
        columns = {name: _inferred(layout.table[name]) for name in lists}
        steps = frame.iloc[layout.series].reset_index(drop=True).assign(**columns)
    examples = frame.iloc[layout.first].reset_index(drop=True)
    agreed = [name for name in examples if name not in lists and agrees(steps[name], layout)]
    if table.parts is not None and not lists and not agrees(table.parts, layout):
        raise DataError(
            f"rows of one {spec.series} stand in files of different splits; keep them in one, "
            "or give every series a value of its own if they begin anew."
        )
    notes = [*table.notes, *_said(layout, rule, _several_files(table, layout, lists))]
    return SeriesTable(
        replace(table, frame=steps, parts=None, whole=examples[agreed]),
        replace(
            table,
            frame=examples,
            parts=None if table.parts is None else table.parts[layout.first],
            notes=notes,
        ),
        layout,
        rule,
    )


def _lists(frame: pd.DataFrame, spec: DataSpec, teacher: Sequence[str]) -> list[str]:
    """Columns that may be features and hold lists of numbers, or lists of such lists."""
    named = {*spec.labels, *spec.ignore, spec.split, spec.group, spec.order, spec.weight}
    named |= {*teacher}
    names = [name for name in frame.columns if name not in named and frame[name].dtype.kind == "O"]
    names = [name for name in names if spec.features is None or name in spec.features]
    names = [name for name in names if is_nested(frame[name])]
    return [name for name in names if holds_numbers(frame[name]) or holds_vectors(frame[name])]


def _are_series(frame: pd.DataFrame, lists: Sequence[str], spec: DataSpec) -> bool:
    """Whether lists are series and no vectors.

    Raises:
        DataError: if all are of one length, so that they may be either, and nothing says which.
    """
    if spec.layout is not None:
        return spec.layout != "vector"
    if any(len(lengths_of(frame[name])) > 1 for name in lists):
        return True
    if any(holds_vectors(frame[name]) for name in lists):
        raise DataError(
            f"lists of lists of numbers, equally many in every row, stand in {some(lists)}: the "
            "steps of series, a list each, or pictures; set data.layout=sequence if they are "
            "steps, leave them out with data.ignore, or write pictures as files or arrays (.npz)."
        )
    if lists:
        raise DataError(
            f"lists of numbers, all of one length, stand in {some(lists)}: vectors, such as "
            "embeddings, or the steps of series; set data.layout=vector or data.layout=sequence, "
            "or leave them out with data.ignore."
        )
    return True


def _check_columns(frame: pd.DataFrame, spec: DataSpec) -> None:
    """Refuse columns of series and times that are not there or hold lists."""
    for key, name in (("series", spec.series), ("time", spec.time)):
        if name is None:
            continue
        check_known([name], list(frame.columns), f"data.{key}")
        if is_nested(frame[name]):
            raise DataError(
                f"data.{key} names column {name!r}, which holds lists or structures; give each "
                "value a row of its own."
            )


def _inferred(values: NDArray[Any]) -> Any:
    """Numbers with None among them as floats; vectors as they are."""
    if values.dtype.kind != "O" or any(map(is_list, values)):
        return values
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _check_agreeing(
    frame: pd.DataFrame, layout: Steps, spec: DataSpec, teacher: Sequence[str]
) -> None:
    """Refuse labels and the like that change within a series."""
    named = [("data.label", name) for name in spec.labels]
    named += [("teacher.columns", name) for name in teacher]
    named += [(f"data.{key}", getattr(spec, key)) for key in ("split", "group", "weight")]
    for key, name in named:
        if name is None or name not in frame or agrees(frame[name], layout):
            continue
        if is_nested(frame[name]):  # refused where columns get their roles
            continue
        own, first = _beside_first(frame[name], layout)
        step = int(np.argmax(_differ(own, first)))
        whose = as_text(np.asarray(frame[str(spec.series)])[layout.order[step]])
        if missing_values(own)[step] or missing_values(first)[step]:
            found, remedy = "a value and none", "give each step its series' value"
        else:
            found = f"{as_text(first[step])} and {as_text(own[step])}"
            remedy = "give windows with values of their own an identifier each"
        raise DataError(
            f"column {name!r} ({key}) holds {found} in steps of {spec.series} {whose!r}, but a "
            f"series has one; {remedy}."
        )


def agrees(values: Any, layout: Steps) -> bool:
    """Whether all steps of each series have one value, and no list."""
    if hasattr(values, "dtype") and not isinstance(values, np.ndarray) and is_nested(values):
        return False
    return not _differ(*_beside_first(values, layout)).any()


def _beside_first(values: Any, layout: Steps) -> tuple[NDArray[Any], NDArray[Any]]:
    """Of each step in order its value, and that of its series' first one."""
    own = np.asarray(values, object)[layout.order]
    starts = np.cumsum(layout.lengths) - layout.lengths
    return own, own[starts[layout.series]]


def _differ(values: NDArray[Any], others: NDArray[Any]) -> NDArray[np.bool_]:
    """Where values differ; two missing ones do not."""
    missing, absent = missing_values(values), missing_values(others)
    differ: NDArray[np.bool_] = np.where(missing | absent, missing != absent, values != others)
    return differ.astype(bool)


def _length(lengths: NDArray[np.int64]) -> int:
    """The longest, unless few are far longer than the others."""
    longest = int(lengths.max())
    usual = int(np.quantile(lengths, MOST_KEEP, method="higher"))
    return longest if longest <= FAR_LONGER * usual else usual


def _several_files(table: Table, layout: Steps, lists: Sequence[str]) -> int:
    """How many series have steps in several files."""
    if lists or len(table.rows) < 2 or sum(table.rows) != len(layout.order):
        return 0
    file = np.repeat(np.arange(len(table.rows)), table.rows)[layout.order]
    apart = np.flatnonzero((np.diff(file) != 0) & (np.diff(layout.series) == 0))
    return len(np.unique(layout.series[apart]))


def _said(layout: Steps, rule: SeriesRule, in_several_files: int) -> Iterator[str]:
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
        said += f"; of {cut:,} the first {rule.steps:,} steps are kept"
    yield said
    if layout.tied:
        yield (
            f"{counted(layout.tied, 'step')} {'has' if layout.tied == 1 else 'have'} the same "
            f"{rule.time} as the one before in the series, and the file's order: "
            f"{rule.column} may stand for several series"
        )
    if in_several_files:
        yield (
            f"{in_several_files:,} series have steps in several files: if {rule.column} begins "
            "anew in each file, give every series a value of its own"
        )
