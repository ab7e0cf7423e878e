"""New examples from the user's file, to be predicted batch by batch."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bdistil.data.layout import as_laid_out
from bdistil.errors import BdistilWarning, DataError
from bdistil.files.array_files import block_rows
from bdistil.files.column_file import ColumnFile
from bdistil.files.file_readers import (
    ARRAY_SUFFIXES,
    TABLE_SUFFIXES,
    check_file,
    errors_naming,
    has_suffix,
    read_arrays,
)
from bdistil.files.table_files import kept_columns, open_new_table
from bdistil.optional import needing
from bdistil.runtime.columns import TableColumns
from bdistil.runtime.manifest import Manifest
from bdistil.runtime.series import SeriesRule, lay_out
from bdistil.runtime.values import is_list

if TYPE_CHECKING:
    import pandas as pd

BATCH = 4096
BLOCKS = 8
"""Of those that training writes to disk, read at once: notes on most files then count all rows."""


class NewExamples(NamedTuple):
    """Examples of a file and what else it says of them.

    Attributes:
        batches: of features, float32 (B, ...).
        labels: raw, as in the file, (N,) or (N, L) where there are several (see
            :func:`bdistil.data.labels.class_indices`), or None.
        beside: what identifies the rows, by name, (N,) each: the columns to keep, of files their
            names, of series in rows their identifiers.
    """

    batches: Iterator[NDArray[np.float32]]
    labels: NDArray[Any] | None
    beside: Mapping[str, Any]


def read_new_examples(path: Path, expected: Manifest, keep: Sequence[str] = ()) -> NewExamples:
    """Open a file of examples to predict and, where it has them, their labels.

    Args:
        path: Parquet or CSV if a table was trained on; photographs or recordings, alone, in a
            folder or in a column of Parquet, if they were; NPZ or folder with `x` and maybe `y`, or
            NPY. Large Parquet files and `x` of a folder are read piece by piece.
        expected: what the ensemble takes.
        keep: columns of a table to read beside, of any content.

    Raises:
        DataError: if the file is missing, damaged or does not fit; of its values, once the batches
            get there.
        MissingDependencyError: if pandas, pyarrow or what decodes the files is needed and not
            installed.
    """
    path = Path(path)
    with errors_naming(path):
        if has_suffix(path, ARRAY_SUFFIXES) or (path / "x.npy").exists():
            if keep:
                raise DataError("arrays have no columns to keep; leave --keep out.")
            x, labels = _arrays(path)
            rows = BLOCKS * block_rows(expected.input_shape)
            x = as_laid_out(x, expected.layout)
            return NewExamples(_batches(path, _slices(x, rows), expected), labels, {})
        if expected.form is not None:
            return _media_examples(path, expected, expected.form, keep)
        return _table_examples(path, expected, keep)


def _media_examples(
    path: Path, expected: Manifest, form: Mapping[str, Any], keep: Sequence[str]
) -> NewExamples:
    with needing("audio" if form.get("medium") == "recording" else "vision"):
        from bdistil.data.new_media import decoded_batches, open_new_media
    media = open_new_media(path, form, expected.names, keep)
    blocks = decoded_batches(media.examples, form)
    return NewExamples(_batches(path, blocks, expected), media.labels, media.beside)


def _table_examples(path: Path, expected: Manifest, keep: Sequence[str]) -> NewExamples:
    columns = expected.columns
    if columns is None:
        check_file(path, TABLE_SUFFIXES)
        raise DataError("training used arrays, not a table; give an NPZ or NPY file.")
    typed = {*columns.names} - columns.texts  # as numbers; kept or not
    if columns.series is not None and columns.series.time is not None:
        typed.add(columns.series.time)
    texts = {*columns.texts, *keep} - typed
    gaps = [column.name for column in columns.features if column.missing]
    table = open_new_table(path, texts, gaps)
    if columns.series is not None and not columns.series.across:
        return _series_examples(path, table, expected, columns.series, keep)
    rows = BLOCKS * block_rows(expected.input_shape)
    blocks = (
        table.frames(columns.names, rows) if isinstance(table, ColumnFile) else _slices(table, rows)
    )
    labels, beside = _raw_labels(table, columns), kept_columns(table, keep)
    return NewExamples(_batches(path, blocks, expected), labels, beside)


def _series_examples(
    path: Path,
    table: pd.DataFrame | ColumnFile,
    expected: Manifest,
    rule: SeriesRule,
    keep: Sequence[str],
) -> NewExamples:
    """Of each series the features, and the label and the kept columns of its first row."""
    assert expected.columns is not None
    if isinstance(table, ColumnFile):
        table = table.read(table.columns)
    x = expected.as_examples(table)
    lists = rule.column is None
    first = lay_out(table, rule, expected.columns.names if lists else ()).first
    if not lists:
        table = _with_labels_of_series(table, str(rule.column), expected.columns.labels)
    table = table.iloc[first]
    beside = kept_columns(table, keep if lists else list(dict.fromkeys((str(rule.column), *keep))))
    return NewExamples(_batches(path, [x], expected), _raw_labels(table, expected.columns), beside)


def _with_labels_of_series(table: pd.DataFrame, whose: str, labels: Sequence[str]) -> pd.DataFrame:
    """Every step with the first label that its series has."""
    for name in labels:
        if name not in table or table[name].map(is_list).any():
            continue
        known = table.groupby(whose, observed=True)[name]
        if known.nunique().max() > 1:
            warnings.warn(
                f"{name} differs within series; the first value of each is compared with.",
                BdistilWarning,
                stacklevel=2,
            )
        table = table.assign(**{name: known.transform("first")})
    return table


def _batches(
    path: Path, blocks: Iterable[Any], expected: Manifest
) -> Iterator[NDArray[np.float32]]:
    row = 0
    for block in blocks:
        with errors_naming(path, row):
            x = expected.as_examples(block)
        yield from _slices(x, BATCH)
        row += len(x)


def _slices(examples: Any, rows: int) -> Iterator[Any]:
    """So many rows at a time."""
    return (examples[start : start + rows] for start in range(0, len(examples), rows))


def _arrays(path: Path) -> tuple[NDArray[Any], NDArray[Any] | None]:
    arrays = read_arrays(path)
    if "x" not in arrays:
        raise DataError(f"array 'x' is missing (there: {', '.join(arrays)}); name the features so.")
    x, labels = arrays["x"], arrays.get("y")
    if x.ndim == 0:
        raise DataError("array 'x' is one number; give examples, (N, ...).")
    if len(x) == 0:
        raise DataError("array 'x' has no rows; give one with examples.")
    if labels is not None and (labels.ndim == 0 or len(labels) != len(x)):
        raise DataError(
            f"array 'y' has shape {labels.shape} for {len(x)} examples; give one label each."
        )
    return x, labels


def _raw_labels(table: pd.DataFrame | ColumnFile, columns: TableColumns) -> NDArray[Any] | None:
    missing = [name for name in columns.labels if name not in table]
    if missing:
        if len(missing) < len(columns.labels):
            warnings.warn(
                f"the answers are compared with no labels, as column {missing[0]!r} of them is "
                "missing; add it to see how good they are.",
                BdistilWarning,
                stacklevel=2,
            )
        return None
    labels = [table[name].to_numpy() for name in columns.labels]
    return labels[0] if isinstance(columns.label, str) else np.stack(labels, axis=1)
