"""What a table may hold that only its user knows: steps of series, and their times."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from bdistil.data.lists import is_nested
from bdistil.data.roles import FEWEST_OF_A_GROUP, Roles
from bdistil.data.series import SeriesTable
from bdistil.data.set_aside import FEWEST_ROWS
from bdistil.errors import DataError
from bdistil.files.column_file import ColumnFile
from bdistil.files.table_files import Table
from bdistil.runtime.series import sortable_times
from bdistil.spec import DataSpec

if TYPE_CHECKING:
    pass

FEWEST_STEPS = 16
NUMBERED = re.compile(r"(.*?)(\d+)")


def possible_time(series: SeriesTable, roles: Roles) -> Iterator[str]:
    """A feature that rises in every series may be its time."""
    whose, rule = series.layout.series, series.rule
    inner = np.diff(whose) == 0
    if rule.column is None or rule.time is not None or not inner.any():
        return
    for name in roles.features if len(series.layout.first) >= FEWEST_ROWS else ():
        try:
            rises = np.diff(sortable_times(series.steps.frame[name], name))[inner]
        except DataError:
            continue
        if (rises > np.zeros((), rises.dtype)).all():
            yield (
                f"{name} rises with every step of each series: if it is their time, data.time="
                f"{name} sorts by it and leaves it out"
            )


def possible_series(table: Table, roles: Roles, spec: DataSpec) -> Iterator[str]:
    """Columns all of whose values have one label each: rows of a value may be steps of a series.

    Cut by chance, such rows stand in every split, and whoever knows the value knows the label.
    """
    if isinstance(table.frame, ColumnFile) or len(spec.labels) > 1:
        return
    if spec.group is not None or spec.split is not None or table.parts is not None:
        return
    labels = table.frame[spec.labels[0]]
    for name in roles.features:
        values = table.frame[name]
        if values.dtype.kind == "f" or is_nested(values):
            continue
        count = values.nunique()
        if not max(FEWEST_ROWS, 2 * labels.nunique()) <= count <= len(values) / FEWEST_OF_A_GROUP:
            continue
        if table.frame.groupby(name, observed=True)[spec.labels[0]].nunique().max() == 1:
            yield (
                f"all rows of one {name} ({count:,} values) have one {spec.labels[0]}: if they are "
                f"steps of a series, data.series={name} makes each series an example; if not, "
                f"data.group={name} keeps each in one split"
            )


def possible_steps(roles: Roles, spec: DataSpec) -> Iterator[str]:
    """Columns that are numbered one after another may be the steps of a series in each row."""
    found = [NUMBERED.fullmatch(name) for name in roles.features]
    pairs = [(match[1], int(match[2])) for match in found if match is not None]
    if len(found) < FEWEST_STEPS or len(pairs) < len(found) or spec.layout is not None:
        return
    (first, start), *_ = pairs
    if pairs == [(first, start + place) for place in range(len(pairs))]:
        yield (
            f"{roles.features[0]} to {roles.features[-1]} are numbered one after another: if they "
            "are steps in time, data.layout=sequence makes a series of each row"
        )
