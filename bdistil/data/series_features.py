"""Series as features of a data set: of a table whose rows are steps, or whose columns are."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdistil.data.data_card import ColumnNote
from bdistil.data.learn_columns import learn_columns
from bdistil.data.repeats import row_hashes, table_hashes
from bdistil.data.roles import Roles
from bdistil.data.series import SeriesTable
from bdistil.data.series_hints import are_in_order, are_numbered, named_otherwise
from bdistil.data.split import SplitIndices
from bdistil.errors import DataError
from bdistil.files.table_files import Table
from bdistil.files.wording import some
from bdistil.names import Domain
from bdistil.runtime.columns import TableColumns
from bdistil.runtime.series import SeriesRule, fold
from bdistil.spec import DataSpec
from bdistil.words import counted


@dataclass
class SeriesFeatures:
    """Features whose rows are steps, see :class:`~bdistil.data.own.Features`."""

    table: SeriesTable
    roles: Roles
    spec: DataSpec
    domain: Domain = "sequence"
    form: None = None
    encoding: TableColumns | None = field(default=None, init=False)

    @property
    def padding(self) -> float | None:
        """Zeros, if some are shorter."""
        return 0.0 if (self.table.layout.lengths < self.table.rule.steps).any() else None

    def hashes(self) -> NDArray[np.uint64] | None:
        """Of the values of all steps, before they are encoded."""
        own = table_hashes(self.table.steps.frame, self.roles.features)
        return None if own is None else row_hashes(self._fold(own))

    def splits(self, rows: SplitIndices) -> list[NDArray[np.float32]]:
        """The encoded steps of each split's series."""
        trained = np.zeros(len(self.table.layout.first), bool)
        trained[rows.train] = True
        own = self.table.layout.order[trained[self.table.layout.series]]
        steps = self.table.steps.frame
        columns = learn_columns(steps, self.roles.features, self.spec.label, own)
        self.encoding = replace(columns, series=self.table.rule)
        x = self._fold(columns.encode_rows(steps))
        return [x[each] for each in rows]

    def _fold(self, values: NDArray[Any]) -> NDArray[Any]:
        layout = self.table.layout
        ordered = values[layout.order]
        return fold(ordered, layout.series, len(layout.first), self.table.rule.steps)

    def columns(self) -> TableColumns | None:
        """The encoding."""
        return self.encoding

    def said(self) -> tuple[list[ColumnNote], list[str]]:
        """What became of each column."""
        return self.roles.notes(self.encoding), []


@dataclass
class AcrossFeatures:
    """Features whose columns are the steps of each row's series, likewise."""

    table: Table
    roles: Roles
    spec: DataSpec
    domain: Domain = "sequence"
    padding: None = None
    form: None = None
    encoding: TableColumns | None = field(default=None, init=False)

    def hashes(self) -> NDArray[np.uint64] | None:
        """Of the values before they are encoded."""
        return table_hashes(self.table.frame, self.roles.features)

    def splits(self, rows: SplitIndices) -> list[NDArray[np.float32]]:
        """The columns of each split's rows, one after another.

        Raises:
            DataError: if one is no number in every row.
        """
        names = self.roles.features
        columns = learn_columns(self.table.frame, names, self.spec.label, rows.train)
        for column in columns.features:
            if column.missing or column.parts or column.categories is not None:
                raise DataError(
                    f"column {column.name!r} cannot be a step, as data.layout={self.spec.layout} "
                    "has it: it is no number in every row; fill or correct it, or leave it out "
                    "with data.ignore."
                )
        self.encoding = replace(columns, series=SeriesRule(len(names), across=True))
        x = self.encoding.encode(self.table.frame)
        return [x[each] for each in rows]

    def columns(self) -> TableColumns | None:
        """The encoding."""
        return self.encoding

    def said(self) -> tuple[list[ColumnNote], list[str]]:
        """What became of each column."""
        names = self.roles.features
        said = f"the {counted(len(names), 'column')} from {names[0]} to {names[-1]} are the steps"
        if are_numbered(names) and not are_in_order(names):
            said += ", although their numbers are in another order: sort them"
        if others := named_otherwise(names):
            said += f"; {some(others)} named otherwise than most: data.ignore, if it is no step"
        return self.roles.notes(self.encoding), [said]
