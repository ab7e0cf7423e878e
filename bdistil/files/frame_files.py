"""Tables with types of their own beside Parquet: Arrow and Feather, ORC, and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bdistil.errors import DataError
from bdistil.files.arrow_schemas import class_names, columns_of_bytes, index_of, unified
from bdistil.files.column_file import check_same_columns, refuse_twins
from bdistil.files.file_readers import JSON_SUFFIXES, has_suffix, reading
from bdistil.optional import require

if TYPE_CHECKING:
    import pandas as pd

ARROW, FEATHER_1 = b"ARROW1", b"FEA1"
"""What files begin with; streams of Arrow's have no such mark."""
Row = dict[str, Any]
LABELS = "Unnamed: 0"
"""What row labels are called, as in a text that pandas wrote."""


@dataclass(frozen=True)
class Frame:
    """Some files as one frame.

    Attributes:
        frame: the columns, in memory.
        rows: of each file.
        index: columns that were the index of a pandas frame.
        notes: on an index that is no column.
        class_names: what the codes of some columns mean.
    """

    frame: pd.DataFrame
    rows: list[int]
    index: Sequence[str] = ()
    notes: Sequence[str] = ()
    class_names: Mapping[str, Sequence[str]] = field(default_factory=dict)


def read_frames(paths: Sequence[Path]) -> Frame:
    """Read the parts of a table, all of one kind.

    Raises:
        DataError: if a file is damaged, holds photographs or recordings, or the parts differ.
        MissingDependencyError: if pyarrow or pandas is not installed.
    """
    kinds = {has_suffix(path, JSON_SUFFIXES) for path in paths}
    if len(kinds) > 1:
        raise DataError("there are both JSON and other files; give a file or folder of one kind.")
    return _read_json(paths) if kinds.pop() else _read_arrow(paths)


def _read_arrow(paths: Sequence[Path]) -> Frame:
    tables = []
    for path in paths:
        with reading(path, alone=len(paths) == 1):
            tables.append(_arrow_table(path))
            tables[-1].validate(full=True)
    schemas = [table.schema for table in tables]
    check_same_columns(paths, [schema.names for schema in schemas])
    refuse_twins(schemas[0].names)
    schema = unified(schemas)
    for name in columns_of_bytes(schema):
        raise DataError(
            f"column {name!r} holds whole files or bytes, which are read from Parquet alone; save "
            "the table as Parquet."
        )
    joined = require("pyarrow", "table").concat_tables(tables, promote_options="permissive")
    index, notes = index_of(schemas[0])
    frame = joined.replace_schema_metadata().to_pandas()
    rows = [table.num_rows for table in tables]
    return Frame(frame, rows, index, notes, class_names(schemas[0]))


def _arrow_table(path: Path) -> Any:
    if has_suffix(path, (".orc",)):
        return require("pyarrow.orc", "table").read_table(path)
    with path.open("rb") as file:
        start = file.read(len(ARROW))
    if start.startswith(FEATHER_1):
        return require("pyarrow.feather", "table").read_table(path, memory_map=False)
    ipc = require("pyarrow.ipc", "table")
    opened = ipc.open_file if start == ARROW else ipc.open_stream
    with path.open("rb") as file:
        return opened(file).read_all()


def _read_json(paths: Sequence[Path]) -> Frame:
    rows: list[Row] = []
    counts, index = [], []
    for path in paths:
        with reading(path, alone=len(paths) == 1):
            own, labels = _json_rows(path.read_text("utf-8-sig"))
        if labels is not None:
            own = [{LABELS: label} | row for label, row in zip(labels, own, strict=True)]
            index = [LABELS]
        rows += own
        counts.append(len(own))
    frame = require("pandas", "table").DataFrame(rows)
    frame.columns = frame.columns.map(str)
    return Frame(frame, counts, index)


def _json_rows(text: str) -> tuple[list[Row], list[str] | None]:
    """The rows of a file: a list of them, one a line, or columns by name as pandas writes them.

    Returns:
        The rows, and the labels of pandas' rows unless they are their numbers.

    Raises:
        DataError: if it is nothing of the kind.
    """
    text = text.strip()
    try:
        whole = json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        if error.msg != "Extra data":
            raise
        whole = list(_lines(text))
    if isinstance(whole, dict) and whole and all(isinstance(c, dict) for c in whole.values()):
        labels = list(dict.fromkeys(label for column in whole.values() for label in column))
        rows = [{name: whole[name].get(label) for name in whole} for label in labels]
        return rows, None if labels == [str(n) for n in range(len(labels))] else labels
    rows = [whole] if isinstance(whole, dict) else whole
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(
            "the JSON is no table; write an object a row: a list of them, or one a line "
            "(DataFrame.to_json(orient='records'))."
        )
    return rows, None


def _lines(text: str) -> Iterator[Any]:
    for line in text.split("\n"):
        if line.strip():
            yield json.loads(line, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> Row:
    refuse_twins([name for name, _ in pairs])
    return dict(pairs)
