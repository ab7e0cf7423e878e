"""What a table may hold that only its user knows: steps of series, and their times."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
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
    layout, rule = series.layout, series.rule
    inner = np.diff(layout.series) == 0
    if rule.column is None or rule.time is not None or not inner.any():
        return
    for name in roles.features if len(layout.first) >= FEWEST_ROWS else ():
        try:
            values = sortable_times(series.steps.frame[name], name)[layout.order]
        except DataError:
            continue
        if (values[1:] > values[:-1])[inner].all():
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
    names = roles.features
    if len(names) < FEWEST_STEPS or spec.layout is not None or not are_numbered(names):
        return
    if are_in_order(names):
        yield (
            f"{names[0]} to {names[-1]} are numbered one after another: if they are steps in time, "
            "data.layout=sequence makes a series of each row"
        )


def are_numbered(names: Sequence[str]) -> bool:
    """Whether columns are named alike but for a number."""
    found = [NUMBERED.fullmatch(name) for name in names]
    return all(found) and len({match[1] for match in found if match is not None}) == 1


def are_in_order(names: Sequence[str]) -> bool:
    """Whether each number is the next one."""
    numbers = [int(match[2]) for name in names if (match := NUMBERED.fullmatch(name)) is not None]
    return numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def named_otherwise(names: Sequence[str]) -> list[str]:
    """Those few that are not named as most others are, but for a number."""
    stems = {name: match[1] for name in names if (match := NUMBERED.fullmatch(name)) is not None}
    if not stems:
        return []
    (common, count), *_ = Counter(stems.values()).most_common()
    others = [name for name in names if stems.get(name) != common]
    return others if count > 2 * len(others) else []
