"""A table in one file or in parts, as pandas, polars, DuckDB and Spark write it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from bdistil.errors import DataError, did_you_mean
from bdistil.files.class_folders import visible
from bdistil.files.column_file import ColumnFile
from bdistil.files.file_readers import (
    FRAME_SUFFIXES,
    JSON_SUFFIXES,
    PARQUET_SUFFIXES,
    TABLE_SUFFIXES,
    TEXT_SUFFIXES,
    check_file,
    errors_naming,
    has_suffix,
    refuse_special,
)
from bdistil.files.folder_columns import with_folder_columns
from bdistil.files.frame_files import Frame, read_frames
from bdistil.files.parts import Parts, join_parts, part_in
from bdistil.files.text_tables import read_texts
from bdistil.files.wording import some
from bdistil.optional import require

if TYPE_CHECKING:
    import pandas as pd

    from bdistil.files.encoded import Medium
    from bdistil.spec import DataSpec

Kind = Literal["Parquet", "text", "Arrow, ORC, JSON or .ts"]
KINDS: dict[Kind, tuple[str, ...]] = {
    "Parquet": PARQUET_SUFFIXES,
    "text": TEXT_SUFFIXES,
    "Arrow, ORC, JSON or .ts": FRAME_SUFFIXES,
}
METADATA = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
"""What the library `datasets` writes beside its tables."""
UNNAMED = r"__index_level_\d+__"
UNNAMED_IN_TEXT = r"Unnamed: \d+(\.\d+)?"
"""What pandas calls an index without a name, in Parquet and, of the first columns, in text."""


class TableFile(NamedTuple):
    """A file of a table.

    Attributes:
        path: of the file.
        part: the split that its rows are for; None if nothing says it.
        folders: names of the folders from the table's own to the file.
    """

    path: Path
    part: int | None = None
    folders: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table of all the files that a spec names.

    Attributes:
        frame: the columns: in memory, or read on demand if they are large or hold whole files.
        said: the files, in words.
        parts: the split of each row, if files say it.
        index: columns that were the index of a pandas frame.
        class_names: what the codes of a column mean.
        media: columns that hold photographs or recordings, and which of them.
        notes: what else a reader should know.
        of_series: columns of lists that are series, by the files' kind.
        rows: of each file.
        whole: columns by which it is told, too, what can be a feature: with the rows that have been
            left out, or of series with a row each; None if there is nothing else to look at.
    """

    frame: pd.DataFrame | ColumnFile
    said: str
    parts: Parts | None = None
    index: Sequence[str] = ()
    class_names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    media: Mapping[str, Medium[Any, Any]] = field(default_factory=dict)
    notes: Sequence[str] = ()
    of_series: Sequence[str] = ()
    rows: Sequence[int] = ()
    whole: pd.DataFrame | None = None


def open_new_table(
    path: Path, texts: Collection[str] = (), optional: Collection[str] = ()
) -> pd.DataFrame | ColumnFile:
    """A table to predict on, in one file or parts; read on demand if it is large.

    Args:
        path: the file, or a folder of parts.
        texts: columns of a text file that must not be taken for numbers or booleans: "007" stays
            what it is.
        optional: columns that may lack values, and do so where no row of JSON names them.

    Raises:
        DataError: if a file is missing, empty or damaged.
        MissingDependencyError: if pandas or pyarrow is not installed.
    """
    require("pandas", "table")
    files = table_files(path)
    kind = kind_of(files)
    if kind == "Parquet":
        table = _column_file(files)
        return table if table.is_large else table.read(table.columns)
    if kind == "text":
        return _below_one_another(files, _text_frames(files, texts))
    frame = _frame(files).frame
    if has_suffix(files[0].path, JSON_SUFFIXES):
        absent = [name for name in optional if name not in frame]
        frame = frame.assign(**dict.fromkeys(absent))
    return frame


def open_table(spec: DataSpec) -> Table:
    """The table of all the files that a spec names.

    Raises:
        DataError: if a file is missing, empty or damaged, or the parts do not belong together.
        MissingDependencyError: if pandas or pyarrow is not installed.
    """
    # Which reading a plain table does without.
    from bdistil.files.media import media_columns, refuse_media

    require("pandas", "table")
    found = {key: _named_files(path) for key, path in spec.sources.items()}
    files = [file for own in found.values() for file in own]
    with errors_naming(files[0].path) if len(files) == 1 else nullcontext():
        kind = kind_of(files)
        if kind == "Parquet":
            columns = _column_file(files)
            media = media_columns(columns)
            lazy = bool(media) or columns.is_large
            table = Table(
                columns if lazy else columns.read(columns.columns),
                _said(files),
                index=[*columns.index, *filter(re.compile(UNNAMED).fullmatch, columns.columns)],
                class_names=columns.class_names,
                media=media,
                notes=columns.notes,
            )
            rows = columns.rows
        elif kind == "text":
            names = () if spec.task == "regression" else (*spec.labels, spec.group)
            texts = () if spec.series is None else (spec.series,)  # 0.1 is another one than 0.10
            frames = _text_frames(files, texts, [name for name in names if name is not None])
            first = takewhile(re.compile(UNNAMED_IN_TEXT).fullmatch, frames[0].columns)
            table = Table(_below_one_another(files, frames), _said(files), index=list(first))
            rows = [len(frame) for frame in frames]
        else:
            read = _frame(files)
            refuse_media(read.frame, read.of_bytes, spec)
            table = Table(
                read.frame,
                _said(files),
                index=[*read.index, *filter(re.compile(UNNAMED).fullmatch, read.frame.columns)],
                class_names=read.class_names,
                notes=read.notes,
                of_series=read.of_series,
            )
            rows = read.rows
    counts = iter(rows)
    parts = {key: _parts(own, [next(counts) for _ in own]) for key, own in found.items()}
    return replace(table, parts=join_parts(parts), rows=rows)


def table_files(path: Path) -> list[TableFile]:
    """The files of a table: one, or the parts in a folder.

    Raises:
        DataError: if there are none, or not all say which split they are.
    """
    if not path.is_dir():
        check_file(path, TABLE_SUFFIXES)
        return [TableFile(path)]
    inner = [file for file, is_folder in visible(path) if not is_folder]
    inner = [file for file in inner if has_suffix(file, TABLE_SUFFIXES)]
    inner = [file for file in inner if file.name not in METADATA]
    others = [file for file in inner if not has_suffix(file, JSON_SUFFIXES)]
    if others:  # beside which JSON tells about them
        inner = [file for file in inner if not has_suffix(file, (".json",))]
    parts = [part_in("/".join(name for name in file.parts if "=" not in name)) for file in inner]
    for file in inner:
        with errors_naming(file):
            refuse_special(path / file)
    silent = [str(file) for file, part in zip(inner, parts, strict=True) if part is None]
    if silent and len(silent) < len(parts):
        raise DataError(
            f"some files say which split they are and others do not ({some(silent)}); rename "
            "them, or give files by data.path, data.validation_path and data.test_path."
        )
    return [
        TableFile(path / file, part, file.parts[:-1])
        for file, part in zip(inner, parts, strict=True)
    ]


def kind_of(files: Sequence[TableFile]) -> Kind:
    """What files are: Parquet, text, or frames with types of another form.

    Raises:
        DataError: if there are none, or some of several.
    """
    kinds = [kind for kind, own in KINDS.items() if any(has_suffix(f.path, own) for f in files)]
    if len(kinds) != 1:
        found = f"both {' and '.join(kinds)} files" if kinds else "no table"
        raise DataError(f"there is {found}; give a file or folder of one kind.")
    return kinds[0]


def _named_files(path: Path) -> list[TableFile]:
    with errors_naming(path):
        return table_files(path)


def _column_file(files: Sequence[TableFile]) -> ColumnFile:
    table = ColumnFile([file.path for file in files], [file.folders for file in files])
    _check_rows(len(table))
    return table


def _text_frames(
    files: Sequence[TableFile], texts: Collection[str] = (), names: Collection[str] = ()
) -> list[pd.DataFrame]:
    frames = read_texts([file.path for file in files], texts, names)
    _check_rows(sum(map(len, frames)))
    return frames


def _frame(files: Sequence[TableFile]) -> Frame:
    read = read_frames([file.path for file in files])
    _check_rows(len(read.frame))
    frame = with_folder_columns(read.frame, [file.folders for file in files], read.rows)
    return replace(read, frame=frame)


def _below_one_another(files: Sequence[TableFile], frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    filled = [frame for frame in frames if len(frame)]  # others have no types
    frame: pd.DataFrame = require("pandas", "table").concat(filled, ignore_index=True)
    return with_folder_columns(frame, [file.folders for file in files], [*map(len, frames)])


def _check_rows(rows: int) -> None:
    if not rows:
        raise DataError("the table has no rows; give one with examples.")


def _parts(files: Sequence[TableFile], rows: Sequence[int]) -> tuple[Parts | None, int]:
    """The split of each row of some files, and the number of rows."""
    parts = [file.part for file in files if file.part is not None]
    return np.repeat(np.array(parts, np.int8), rows) if parts else None, sum(rows)


def _said(files: Sequence[TableFile]) -> str:
    names = [file.path.name for file in files]
    return (
        " and ".join(names) if len(names) < 3 else f"{names[0]} to {names[-1]} ({len(names)} files)"
    )


def kept_columns(table: Any, keep: Sequence[str]) -> dict[str, Any]:
    """Some columns of a table by name.

    Raises:
        DataError: if one is not there.
    """
    for name in keep:
        if name not in table:
            known = list(map(str, table.columns))
            hint = f"{did_you_mean(name, known)} ".lstrip()
            raise DataError(
                f"--keep names column {name!r}, which is missing; {hint}see {some(known)}."
            )
    return {name: np.asarray(table[name]) for name in keep}
