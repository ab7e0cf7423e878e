"""Series as features of a data set: of a table whose rows are steps."""

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
from bdistil.data.split import SplitIndices
from bdistil.names import Domain
from bdistil.runtime.columns import TableColumns
from bdistil.runtime.series import fold
from bdistil.spec import DataSpec


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
