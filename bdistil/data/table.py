"""The user's own Parquet or CSV file as a Dataset."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bdistil.data.assemble import assemble
from bdistil.data.columns import learn_columns
from bdistil.data.dataset import Dataset
from bdistil.data.file_readers import errors_naming, read_table
from bdistil.data.label_columns import encode_label_columns
from bdistil.data.labels import Labels, encode_labels
from bdistil.data.large import ColumnFile, is_large, table_splits
from bdistil.data.split import split_indices
from bdistil.data.teacher_outputs import check_width
from bdistil.errors import BdistilError, BdistilWarning, DataError, TeacherError
from bdistil.runtime.values import finite_numbers
from bdistil.spec import DataSpec

if TYPE_CHECKING:
    import pandas as pd

    Table = pd.DataFrame | ColumnFile

SAVED_INDEX = ("Unnamed: 0", "__index_level_0__")
SHOWN_COLUMNS = 12


def load_table(spec: DataSpec, seed: int, teacher_columns: Sequence[str] | None = None) -> Dataset:
    """Read a table, encode label and features, and split it; large Parquet files column by column.

    Categories of text columns are learnt on the training rows alone.

    Args:
        spec: with `path`, and which columns are label and features.
        seed: of the split.
        teacher_columns: columns that hold a teacher's outputs, one a class in class order.

    Raises:
        DataError: if the file or one of its columns is missing or unfit.
        TeacherError: if a teacher's column is missing or unfit.
        MissingDependencyError: if pandas or pyarrow is not installed.
    """
    assert spec.path is not None
    with errors_naming(spec.path):
        frame = ColumnFile(spec.path) if is_large(spec.path) else read_table(spec.path)
        names = _feature_names(frame, spec, teacher_columns or ())
        labels = _labels(frame, spec)
        teacher = None if teacher_columns is None else _teacher(frame, teacher_columns)
        check_width(teacher, labels)
        indices = split_indices(*labels, validation=spec.validation, test=spec.test, seed=seed)
        columns = learn_columns(frame, names, spec.label, rows=indices.train)
        return assemble(
            spec.path.stem,
            "tabular",
            table_splits(spec, seed, frame, columns, indices)
            if isinstance(frame, ColumnFile)
            else columns.encode(frame),
            labels.y,
            indices,
            class_names=labels.class_names,
            teacher=teacher,
            columns=columns,
        )


def _labels(frame: Table, spec: DataSpec) -> Labels:
    if len(spec.labels) == 1 and spec.task != "multilabel":
        (name,) = spec.labels
        return encode_labels(frame[name], spec.task, f"label column {name!r}")
    columns = {name: frame[name] for name in spec.labels}
    return encode_label_columns(columns, spec.task, "label column")


def _feature_names(frame: Table, spec: DataSpec, teacher: Sequence[str]) -> list[str]:
    known = list(frame.columns)
    _check_known(spec.labels, known, "data.label")
    _check_known(spec.ignore, known, "data.ignore")
    _check_known(spec.features or (), known, "data.features")
    _check_known(teacher, known, "teacher.columns", TeacherError)
    _check_no_clash(spec.labels, {*spec.ignore, *teacher})
    taken = {*spec.labels, *spec.ignore, *teacher}
    if spec.features is None:
        names = [name for name in known if name not in taken | _saved_index(known, taken)]
    else:
        names = list(dict.fromkeys(spec.features))
        _check_no_clash(names, taken)
    if not names:
        raise DataError("no feature column is left; check data.features and data.ignore.")
    return names


def _check_known(
    wanted: Iterable[str], known: list[str], field: str, error: type[BdistilError] = DataError
) -> None:
    for name in wanted:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            shown = ", ".join(known[:SHOWN_COLUMNS]) + (
                ", ..." if len(known) > SHOWN_COLUMNS else ""
            )
            raise error(
                f"{field} names column {name!r}, which is missing; {hint}there are {shown}."
            )


def _check_no_clash(names: Sequence[str], taken: set[str]) -> None:
    for name in names:
        if name in taken:
            raise DataError(
                f"column {name!r} is named twice; it stands in one of data.label, data.features, "
                "data.ignore and teacher.columns only."
            )


def _saved_index(known: list[str], taken: set[str]) -> set[str]:
    """Row numbers that pandas writes beside the data: they would leak the order of the file."""
    found = {name for name in SAVED_INDEX if name in known and name not in taken}
    for name in found:
        warnings.warn(
            f"column {name!r} looks like row numbers and is left out; name it in data.features "
            "if it is a feature.",
            BdistilWarning,
            stacklevel=2,
        )
    return found


def _teacher(frame: Table, names: Sequence[str]) -> NDArray[np.float32]:
    remedy = "correct the teacher's outputs or drop these rows"
    columns = [
        finite_numbers(frame[name], f"teacher column {name!r}", remedy, TeacherError)
        for name in names
    ]
    return np.stack(columns, axis=1)
