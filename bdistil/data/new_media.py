"""New photographs and recordings from the user's files, to be predicted batch by batch."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from bdistil.data.label_columns import name_codes
from bdistil.errors import BdistilWarning, DataError
from bdistil.files.class_folders import told_left_out, visible
from bdistil.files.column_file import ColumnFile
from bdistil.files.encoded import Cells, Examples, Files, Form, Medium, decode_each
from bdistil.files.file_readers import TABLE_SUFFIXES, has_suffix
from bdistil.files.media import MEDIA, media_columns
from bdistil.files.table_files import kept_columns, kind_of, table_files
from bdistil.files.wording import some
from bdistil.spec.mistakes import first_fault

BATCH = 256
LABEL = "label"  # as data.label is by default


class NewMedia(NamedTuple):
    """Encoded examples and what is known of them.

    Attributes:
        examples: to decode.
        labels: raw labels (N,); None without any.
        beside: other columns by name, (N,) each; of files, their names as `file`.
    """

    examples: Examples
    labels: NDArray[Any] | None
    beside: Mapping[str, Any]


def medium_of(form: Mapping[str, Any]) -> tuple[Medium[Any, Any], Form]:
    """The medium and the form that training used, from the form that a config holds.

    Raises:
        DataError: if this version does not know it.
    """
    medium = next((each for each in MEDIA if each.noun == form.get("medium")), None)
    if medium is None:
        raise DataError(f"it was trained on {form.get('medium')}s, which this version cannot read.")
    fields = {name: form[name] for name in medium.form.model_fields if name in form}
    try:
        return medium, medium.form.model_validate(fields)
    except ValidationError as error:
        raise DataError(f"the ensemble's form is damaged ({first_fault(error)}).") from None


def open_new_media(
    path: Path, form: Mapping[str, Any], class_names: Collection[str], keep: Sequence[str]
) -> NewMedia:
    """Find the examples of a file, of a folder at any depth, or of a Parquet table.

    Args:
        path: of one photograph or recording, of a folder of them or of a table.
        form: what training read.
        class_names: a folder with such a name, also the given one, says the class of its files.
        keep: columns of a table to read beside.

    Raises:
        DataError: if there are none, or a column is not there.
    """
    medium, _ = medium_of(form)
    files = _media_files(path, medium)
    if files is not None:
        if keep:
            raise DataError("files have no columns to keep; leave --keep out.")
        return _of_files(files, class_names)
    other = path.is_file() and not has_suffix(path, TABLE_SUFFIXES)
    tables = [] if other else table_files(path)
    if not tables or kind_of(tables) != "Parquet":
        raise DataError(
            f"training used {medium.noun}s; give a file or a folder of them "
            f"({', '.join(medium.suffixes)}), or Parquet with a column of them."
        )
    table = ColumnFile([file.path for file in tables], [file.folders for file in tables])
    return _of_table(table, medium, form, keep)


def _media_files(path: Path, medium: Medium[Any, Any]) -> Files | None:
    """The file itself, or those of a folder; None if it has none."""
    if path.is_file():
        return Files([path], path.parent) if has_suffix(path, medium.suffixes) else None
    found = [path / file for file, is_folder in visible(path) if not is_folder]
    files = [file for file in found if has_suffix(file, medium.suffixes)]
    if not files:
        return None
    for said in told_left_out([file for file in found if not has_suffix(file, medium.suffixes)]):
        warnings.warn(f"{path}: {said}", BdistilWarning, stacklevel=2)
    return Files(files, path)


def _of_files(files: Files, class_names: Collection[str]) -> NewMedia:
    names = [file.relative_to(files.root) for file in files.files]
    known = [[part for part in name.parts[:-1] if part in class_names] for name in names]
    if not any(known) and files.root.resolve().name in class_names:
        known = [[files.root.resolve().name]] * len(names)
    labels = np.array([own[0] if own else None for own in known], object)
    beside = {"file": np.array([str(name) for name in names], object)}
    return NewMedia(files, labels if any(known) else None, beside)


def _of_table(
    table: ColumnFile, medium: Medium[Any, Any], form: Mapping[str, Any], keep: Sequence[str]
) -> NewMedia:
    if len(table) == 0:
        raise DataError("the table has no rows; give one with examples.")
    found = [name for name, own in media_columns(table).items() if own is medium]
    column = form.get("column")
    if column not in found:
        if len(found) != 1:
            said = some(found) if found else f"none of {some(table.columns)}"
            raise DataError(
                f"column {column!r} of {medium.noun}s is missing, and {said} could stand for it; "
                "name the column so."
            )
        (column,) = found
    label = str(form.get("label") or LABEL)  # of folders, which have no column of labels
    labels = None
    if label in table:
        labels = np.asarray(name_codes(table[label], table.class_names.get(label)))
    return NewMedia(Cells(table, str(column)), labels, kept_columns(table, keep))


def decoded_batches(examples: Examples, form: Mapping[str, Any]) -> Iterator[NDArray[Any]]:
    """Examples in the form that training used, at most so many at once.

    Raises:
        DataError: if examples are damaged, the first few by name.
    """
    medium, own = medium_of(form)
    decoded = decode_each(examples, medium, own)
    while batch := list(islice(decoded, BATCH)):
        yield np.stack(batch)
