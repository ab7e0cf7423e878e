"""The user's own table as a Dataset."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdistil.data.column_features import AcrossFeatures, ColumnFeatures
from bdistil.data.dataset import Dataset
from bdistil.data.decoded import DecodedFeatures
from bdistil.data.divide import known_of
from bdistil.data.label_columns import encode_label_columns, name_codes
from bdistil.data.labels import Labels, encode_labels
from bdistil.data.lists import is_nested
from bdistil.data.own import Features, assemble_own, check_unused
from bdistil.data.roles import Roles, assign_roles, possible_groups
from bdistil.data.series import SEQUENCES, find_series, in_memory
from bdistil.data.series_features import SeriesFeatures
from bdistil.data.series_hints import possible_series, possible_steps, possible_time
from bdistil.data.unlabelled import without_unlabelled
from bdistil.data.weights import weights_named
from bdistil.errors import TeacherError
from bdistil.files.column_file import ColumnFile
from bdistil.files.encoded import Cells
from bdistil.files.file_readers import errors_naming
from bdistil.files.table_files import Table, open_table
from bdistil.runtime.values import finite_numbers
from bdistil.spec import DataSpec


def load_table(spec: DataSpec, seed: int, teacher_columns: Sequence[str] | None = None) -> Dataset:
    """Read a table, encode label and features, and split it; large Parquet files column by column.

    Categories of text columns are learnt on the training rows alone. A column of photographs or
    recordings is the only feature.

    Args:
        spec: with `path`, and which columns are what.
        seed: of the split.
        teacher_columns: columns that hold a teacher's outputs, one a class in class order.

    Raises:
        DataError: if a file or one of its columns is missing or unfit.
        TeacherError: if a teacher's column is missing or unfit.
        MissingDependencyError: if pandas or pyarrow is not installed.
    """
    assert spec.path is not None
    table = open_table(spec)
    with errors_naming(spec.path):
        table = in_memory(table, spec)
        series = find_series(table, spec, teacher_columns or ())
        if series is not None:
            roles = assign_roles(series.steps, spec, teacher_columns or (), vectors=True)
            features: Features = SeriesFeatures(series, roles, spec)
            hints = [*series.examples.notes, *possible_time(series, roles)]
            table = replace(series.examples, notes=hints)
        else:
            table = without_unlabelled(table, spec)
            across = spec.layout in SEQUENCES
            vectors = spec.layout == "vector"
            teachers = teacher_columns or ()
            roles = assign_roles(table, spec, teachers, constants=across, vectors=vectors)
            features = _features(table, roles, spec)
            table = replace(table, notes=[*table.notes, *_hints(table, roles, spec)])
        labels = _labels(table, spec)
        teacher_outputs = None if teacher_columns is None else _teacher(table, teacher_columns)
        known = known_of(table.frame, spec, table.parts)
        return assemble_own(
            spec,
            seed,
            table.said,
            features,
            labels,
            known,
            teacher_outputs=teacher_outputs,
            weights=weights_named(table.frame, spec, "column"),
            notes=[*table.notes, *possible_groups(table, roles, spec)],
        )


def _hints(table: Table, roles: Roles, spec: DataSpec) -> Iterator[str]:
    if not table.media:
        yield from possible_series(table, roles, spec)
        yield from possible_steps(roles, spec)


def _features(table: Table, roles: Roles, spec: DataSpec) -> Features:
    first = roles.features[0]
    if first in table.media:
        assert isinstance(table.frame, ColumnFile)
        examples = Cells(table.frame, first)
        names = {"column": first, "label": spec.label}
        return DecodedFeatures(examples, table.media[first], spec, roles.notes(), names)
    across = spec.layout in SEQUENCES
    vectors = spec.layout == "vector" and any(is_nested(table.frame[n]) for n in roles.features)
    check_unused(spec, "layout" if across or vectors else None, "is a table of single values")
    return (AcrossFeatures if across else ColumnFeatures)(table, roles, spec)


def _labels(table: Table, spec: DataSpec) -> Labels:
    if len(spec.labels) == 1 and spec.task != "multilabel":
        (name,) = spec.labels
        return encode_labels(_label_values(table, name), spec.task, f"label column {name!r}")
    columns = {name: table.frame[name] for name in spec.labels}
    return encode_label_columns(columns, spec.task, "label column")


def _label_values(table: Table, name: str) -> Any:
    """A label column, with names for codes if the table has them."""
    return name_codes(table.frame[name], table.class_names.get(name))


def _teacher(table: Table, names: Sequence[str]) -> NDArray[np.float32]:
    remedy = "correct the teacher's outputs or drop these rows"
    columns = [
        finite_numbers(table.frame[name], f"teacher column {name!r}", remedy, TeacherError)
        for name in names
    ]
    return np.stack(columns, axis=1)
