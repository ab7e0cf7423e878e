"""A table's columns as features, the way that training learnt to encode them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdistil.errors import BdistilWarning, DataError
from bdistil.runtime.dates import as_times, date_parts
from bdistil.runtime.series import SeriesRule, fold, lay_out
from bdistil.runtime.values import (
    as_column,
    as_text,
    check_present,
    finite_numbers,
    is_list,
    missing_values,
)

REMEDY = "correct these values or drop their rows"
BOOLEANS = {"True": 1, "true": 1, "False": 0, "false": 0, "0": 0}
"""Texts of booleans, and what stands in the place of a gap."""


@dataclass(frozen=True)
class FeatureColumn:
    """One column: numbers and vectors as they are, categories one-hot, dates in parts.

    Attributes:
        name: the column's name.
        categories: the known values as text; None for a column of numbers or dates.
        rarer: how many different values training had beside the known ones; they count as none of
            these, as do values that training did not have.
        parts: of a column of dates, in :data:`~bdistil.runtime.dates.DATE_PARTS`; else None.
        missing: how many values training lacked. If any, one more feature says where a value is
            missing, and `fill` stands in its place; if none, a missing value is refused.
        fill: for each number or part, the median of the training rows; empty for categories, all
            of which are zero where the value is missing.
        size: numbers in the list that each value is; 0 if values are no lists.
    """

    name: str
    categories: tuple[str, ...] | None = None
    rarer: int = 0
    parts: tuple[str, ...] | None = None
    missing: int = 0
    fill: tuple[float, ...] = ()
    size: int = 0

    def __post_init__(self) -> None:
        if self.size and (self.categories is not None or self.parts or self.missing):
            raise ValueError(f"column {self.name!r} holds lists, and something else, too")
        values = 0 if self.categories is not None else len(self.parts or (self.name,))
        if self.missing < 0 or (self.missing and len(self.fill) != values):
            raise ValueError(f"column {self.name!r} has {self.missing} gaps and fill {self.fill}")

    @property
    def width(self) -> int:
        """Number of features that the column becomes."""
        if self.size:
            return self.size
        values = self.categories if self.categories is not None else self.parts
        return (1 if values is None else len(values)) + bool(self.missing)

    @property
    def feature_names(self) -> list[str]:
        """Of the features that the column becomes, its own where it is one number."""
        if self.size:
            return [f"{self.name}[{place}]" for place in range(self.size)]
        values = self.categories if self.categories is not None else self.parts
        names = [self.name] if values is None else [f"{self.name}={value}" for value in values]
        return [*names, *([f"{self.name} is missing"] if self.missing else [])]

    def encode(self, values: Any) -> NDArray[np.float32]:
        """Features float32 (N, width); an unknown category is all zeros.

        Raises:
            DataError: if a value is missing, infinite, or no number or date where one is expected.
        """
        what = f"column {self.name!r}"
        if isinstance(values, str | bytes | Mapping) or not hasattr(values, "__len__"):
            raise DataError(
                f"{what} is {values!r}, one value; give a list, one value a row (of a single row "
                "that is a dictionary, [row])."
            )
        values = as_column(values, what)
        if self.size:
            return self._encode_lists(values, what)
        if np.ndim(values) != 1:
            raise DataError(f"{what} has shape {np.shape(values)}; give one value a row.")
        if not self.missing:
            check_present(values, what, REMEDY)
            return self._encode_present(values, what)
        missing = missing_values(values)
        if self.categories is None:
            values = np.asarray(values)
            values = values.astype(object) if values.dtype.kind in "SU" else values
            found = self._encode_present(np.where(missing, self._stopgap, values), what)
            found[missing] = self.fill
        else:
            found = np.zeros((len(missing), self.width - 1), np.float32)
            found[~missing] = self._encode_present(np.asarray(values)[~missing], what)
        return np.concatenate([found, missing[:, None].astype(np.float32)], axis=1)

    @property
    def _stopgap(self) -> Any:
        """What can be encoded in place of a missing value, so that rows keep their numbers."""
        return 0 if self.parts is None else np.datetime64(0, "us")

    def _encode_lists(self, values: Any, what: str) -> NDArray[np.float32]:
        """Lists, or the rows of a matrix, all as long as those of training."""
        if np.ndim(values) == 1:
            for row, value in enumerate(values):
                if not is_list(value) or len(value) != self.size:
                    found = f"a list of {len(value):,}" if is_list(value) else as_text(value)
                    raise DataError(
                        f"{what} holds {found} in row {row} (counted from 0), no list of "
                        f"{self.size:,} numbers; {REMEDY}."
                    )
            rows = [np.asarray(as_column(value)) for value in values]
            for row, own in enumerate(rows):
                if own.ndim > 1:
                    raise DataError(
                        f"{what} holds lists in a list in row {row} (counted from 0); give "
                        f"{self.size:,} numbers."
                    )
            values = np.stack(rows) if rows else np.zeros((0, self.size))
        if np.shape(values)[1:] != (self.size,):
            raise DataError(
                f"{what} has shape {np.shape(values)}; give a list of {self.size:,} numbers a row."
            )
        return finite_numbers(values, what, REMEDY)

    def _encode_present(self, values: Any, what: str) -> NDArray[np.float32]:
        if self.parts is not None:
            return date_parts(as_times(values, what, REMEDY), self.parts)
        if self.categories is None:
            return _numbers(values, what).reshape(-1, 1)
        texts = np.array([as_text(value) for value in values], dtype=object)
        one_hot: NDArray[np.bool_] = texts[:, None] == np.array(self.categories, dtype=object)
        if not self.rarer:
            _note_unknown(what, texts[~one_hot.any(axis=1)], len(texts))
        return one_hot.astype(np.float32)


@dataclass(frozen=True)
class TableColumns:
    """The feature columns of a table, in order, and its label columns.

    Attributes:
        features: the columns that become features.
        label: name of the label column, or names of several.
        series: how rows become sequences; None where each row is an example of its own.
    """

    features: tuple[FeatureColumn, ...]
    label: str | tuple[str, ...]
    series: SeriesRule | None = None

    def __post_init__(self) -> None:
        if not self.features or not self.label:
            raise ValueError("columns without features or without a label")

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> TableColumns:
        """From JSON."""
        features = (
            FeatureColumn(
                each["name"],
                categories=each.get("categories") and tuple(each["categories"]),
                rarer=each.get("rarer", 0),
                parts=each.get("parts") and tuple(each["parts"]),
                missing=each.get("missing", 0),
                fill=tuple(each.get("fill", ())),
                size=each.get("size", 0),
            )
            for each in content["features"]
        )
        label, series = content["label"], content.get("series")
        return cls(
            tuple(features),
            label if isinstance(label, str) else tuple(label),
            None if series is None else SeriesRule(**series),
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the label columns."""
        return (self.label,) if isinstance(self.label, str) else self.label

    @property
    def names(self) -> list[str]:
        """Of the columns that become features."""
        return [column.name for column in self.features]

    @property
    def texts(self) -> set[str]:
        """Columns to be read as text, whatever they look like; a label may be one."""
        encoded = (column.name for column in self.features if column.categories or column.parts)
        whose = () if self.series is None or self.series.column is None else (self.series.column,)
        return {*self.labels, *encoded, *whose}

    @property
    def width(self) -> int:
        """Number of features, of one step if rows are steps."""
        return sum(column.width for column in self.features)

    def encode(self, table: Any) -> NDArray[np.float32]:
        """Turn a table into features; its columns are found by their names, in any order.

        Args:
            table: a mapping of names to equally long arrays, a DataFrame, or anything else that
                has ``name in table`` and ``table[name]``.

        Returns:
            float32 (N, width), or (series, steps, width) in the order of the series' first rows;
            columns not learnt are left out.

        Raises:
            DataError: if a column or a value is missing, or no number where one is expected.
        """
        if self.series is None:
            return self.encode_rows(table)
        if self.series.across:
            return self.encode_rows(table)[:, :, None]
        steps = lay_out(table, self.series, self.names)
        try:
            rows = self.encode_rows(steps.table)
        except DataError as error:
            if self.series.column is not None:
                raise
            raise DataError(f"of the steps in all lists, {error}") from None
        if len(rows) != len(steps.order):
            raise DataError(f"column {self.series.column!r} is not as long as the others.")
        if steps.tied:
            warnings.warn(
                f"{steps.tied:,} of {len(rows):,} steps have the same {self.series.time} as the "
                f"one before in the series: {self.series.column} may stand for several series.",
                BdistilWarning,
                stacklevel=2,
            )
        if cut := int((steps.lengths > self.series.steps).sum()):
            warnings.warn(
                f"{cut:,} of {len(steps.first):,} series are longer than those of training; their "
                f"first {self.series.steps:,} steps are answered.",
                BdistilWarning,
                stacklevel=2,
            )
        return fold(rows[steps.order], steps.series, len(steps.first), self.series.steps)

    def encode_rows(self, table: Any) -> NDArray[np.float32]:
        """Features of each row as it stands, float32 (N, width); for the rest see `encode`."""
        absent = [repr(name) for name in self.names if name not in table]
        if absent:
            raise DataError(
                f"the table lacks column{'s' if len(absent) > 1 else ''} {', '.join(absent)}, "
                "which training used; add what is missing."
            )
        blocks = [column.encode(table[column.name]) for column in self.features]
        if len({len(block) for block in blocks}) > 1:
            lengths = ", ".join(str(len(block)) for block in blocks)
            raise DataError(f"the columns differ in length ({lengths}); give one value a row.")
        return np.concatenate(blocks, axis=1)


def _numbers(values: Any, what: str) -> NDArray[np.float32]:
    """Numbers, or booleans, also where they are texts, as a form or csv.reader gives them."""
    try:
        return finite_numbers(values, what, REMEDY)
    except DataError:
        found = [BOOLEANS.get(as_text(value)) for value in values]
        if None in found:
            raise
        return np.array(found, np.float32)


def _note_unknown(what: str, unknown: NDArray[np.object_], count: int) -> None:
    if len(unknown):
        warnings.warn(
            f"{what}: {len(unknown)} of {count} values are categories that training did not see, "
            f"such as {unknown[0]!r}; they count as none of the known ones.",
            BdistilWarning,
            stacklevel=2,
        )
