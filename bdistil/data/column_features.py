"""Columns of a table as features of a data set: of a row each, or as steps across it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from bdistil.data.data_card import ColumnNote
from bdistil.data.large import table_splits
from bdistil.data.learn_columns import learn_columns
from bdistil.data.repeats import table_hashes
from bdistil.data.roles import Roles
from bdistil.data.series_hints import are_in_order, are_numbered, named_otherwise
from bdistil.data.split import SplitIndices
from bdistil.errors import DataError
from bdistil.files.array_files import cache_folder
from bdistil.files.column_file import ColumnFile
from bdistil.files.table_files import Table
from bdistil.files.wording import some
from bdistil.names import Domain
from bdistil.runtime.columns import TableColumns
from bdistil.runtime.series import SeriesRule
from bdistil.spec import DataSpec
from bdistil.words import counted


@dataclass
class ColumnFeatures:
    """Features that are columns of numbers and categories, see :class:`Features`."""

    table: Table
    roles: Roles
    spec: DataSpec
    domain: Domain = "tabular"
    padding: None = None
    form: None = None
    encoding: TableColumns | None = field(default=None, init=False)

    def hashes(self) -> NDArray[np.uint64] | None:
        """Of the values before they are encoded."""
        return table_hashes(self.table.frame, self.roles.features)

    def splits(self, rows: SplitIndices) -> list[NDArray[np.float32]]:
        """The encoded columns of each split."""
        frame = self.table.frame
        columns = learn_columns(frame, self.roles.features, self.spec.label, rows.train)
        self.encoding = columns
        if isinstance(frame, ColumnFile):
            assert self.spec.path is not None
            return table_splits(frame, columns, rows, cache_folder(self.spec.path))
        x = columns.encode(frame)
        return [x[own] for own in rows]

    def columns(self) -> TableColumns | None:
        """The encoding."""
        return self.encoding

    def said(self) -> tuple[list[ColumnNote], list[str]]:
        """What became of each column."""
        return self.roles.notes(self.encoding), []


@dataclass
class AcrossFeatures(ColumnFeatures):
    """The same where columns are the steps of each row's series, of one feature."""

    domain: Domain = "sequence"

    def splits(self, rows: SplitIndices) -> list[NDArray[np.float32]]:
        """The columns of each split's rows, one after another.

        Raises:
            DataError: if one is no number in every row.
        """
        names = self.roles.features
        columns = learn_columns(self.table.frame, names, self.spec.label, rows.train)
        for column in columns.features:
            if column.missing or column.parts or column.size or column.categories is not None:
                raise DataError(
                    f"column {column.name!r} cannot be a step, as data.layout={self.spec.layout} "
                    "has it: it is no number in every row; fill or correct it, or leave it out "
                    "with data.ignore."
                )
        self.encoding = replace(columns, series=SeriesRule(len(names), across=True))
        x = self.encoding.encode(self.table.frame)
        return [x[each] for each in rows]

    def said(self) -> tuple[list[ColumnNote], list[str]]:
        """What became of each column, and in which order."""
        names = self.roles.features
        said = f"the {counted(len(names), 'column')} from {names[0]} to {names[-1]} are the steps"
        if are_numbered(names) and not are_in_order(names):
            said += ", although their numbers are in another order: sort them"
        if others := named_otherwise(names):
            said += f"; {some(others)} named otherwise than most: data.ignore, if it is no step"
        return self.roles.notes(self.encoding), [said]
