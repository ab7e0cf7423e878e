"""Rows of a table without a label, of which there is nothing to learn."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bdistil.data.label_columns import name_codes
from bdistil.files.column_file import ColumnFile
from bdistil.files.table_files import Table
from bdistil.files.wording import some
from bdistil.runtime.values import missing_values
from bdistil.spec import DataSpec
from bdistil.words import counted

if TYPE_CHECKING:
    import pandas as pd

MOST = 0.5
"""Share of the rows from which the wrong column may have been named."""


def without_unlabelled(table: Table, spec: DataSpec) -> Table:
    """The table without rows that lack a label, which its notes tell.

    It stays as it is, to be refused, if such rows are most, or if its columns are read on demand.
    """
    if isinstance(table.frame, ColumnFile):
        return table
    lacking = np.zeros(len(table.frame), bool)
    labels = [name for name in spec.labels if name in table.frame]  # others are refused elsewhere
    for name in labels:
        lacking |= missing_values(name_codes(table.frame[name], table.class_names.get(name)))
    if not lacking.any() or lacking.mean() >= MOST:
        return table
    rows = counted(int(lacking.sum()), "row")
    frame = table.frame[~lacking].reset_index(drop=True)
    return replace(
        table,
        frame=frame.assign(**{name: _as_before_gaps(frame[name]) for name in labels}),
        parts=None if table.parts is None else table.parts[~lacking],
        notes=[
            *table.notes,
            f"{rows} {_lacking(labels)} are left out, also where others are numbered",
        ],
        whole=table.frame,
    )


def _lacking(labels: list[str]) -> str:
    return f"without {labels[0]}" if len(labels) == 1 else f"that lack one of {some(labels)}"


def _as_before_gaps(values: pd.Series[Any]) -> pd.Series[Any]:
    """Whole numbers and booleans, which pandas keeps as others where one is missing."""
    if values.dtype.kind == "f" and ((values.abs() < 2**53) & (values == values.round())).all():
        return values.astype(np.int64)
    return values.infer_objects()
