"""Tables with types of their own beside Parquet: Arrow, Feather, ORC, JSON and series in .ts."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bdistil.errors import DataError
from bdistil.files.arrow_schemas import class_names, columns_of_bytes, index_of, unified
from bdistil.files.column_names import check_same_columns, refuse_twins
from bdistil.files.file_readers import JSON_SUFFIXES, SERIES_SUFFIXES, has_suffix, reading
from bdistil.files.series_files import LABEL, read_ts_frame
from bdistil.optional import require

if TYPE_CHECKING:
    import pandas as pd

ARROW, FEATHER_1 = b"ARROW1", b"FEA1"
"""What files begin with; streams of Arrow's have no such mark."""
LARGEST_WHOLE = 2**53  # up to which float64 has all whole numbers
Row = dict[str, Any]
SURROGATE = re.compile("[\\ud800-\\udfff]")
ROW_LABELS = "Unnamed: 0"
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
        of_bytes: columns of bytes, or of structs with a field `bytes`.
        of_series: columns of lists that are series, by the files' kind.
    """

    frame: pd.DataFrame
    rows: list[int]
    index: Sequence[str] = ()
    notes: Sequence[str] = ()
    class_names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    of_bytes: Sequence[str] = ()
    of_series: Sequence[str] = ()


def read_frames(paths: Sequence[Path]) -> Frame:
    """Read the parts of a table, all of one kind.

    Raises:
        DataError: if a file is damaged, holds photographs or recordings, or the parts differ.
        MissingDependencyError: if pyarrow or pandas is not installed.
    """
    if all(has_suffix(path, JSON_SUFFIXES) for path in paths):
        return _read_json(paths)
    if all(has_suffix(path, SERIES_SUFFIXES) for path in paths):
        frame, rows = read_ts_frame(paths)
        return Frame(frame, rows, of_series=[name for name in frame.columns if name != LABEL])
    if any(has_suffix(path, (*JSON_SUFFIXES, *SERIES_SUFFIXES)) for path in paths):
        raise DataError("there are files of several kinds; give a file or folder of one kind.")
    return _read_arrow(paths)


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
    joined = require("pyarrow", "table").concat_tables(tables, promote_options="permissive")
    index, notes = index_of(schemas[0])
    frame = joined.replace_schema_metadata().to_pandas()
    rows = [table.num_rows for table in tables]
    of_bytes = columns_of_bytes(schema)
    return Frame(frame, rows, index, notes, class_names(schemas[0]), of_bytes)


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
            own = [{ROW_LABELS: label} | row for label, row in zip(labels, own, strict=True)]
            index = [ROW_LABELS]
        rows += own
        counts.append(len(own))
    pandas = require("pandas", "table")
    frame = pandas.DataFrame(rows)
    for name in frame.select_dtypes("float"):
        if (frame[name].abs() > LARGEST_WHOLE).any():  # whole numbers beside gaps, maybe
            frame[name] = pandas.Series([row.get(name) for row in rows], dtype=object)
    frame.columns = frame.columns.map(str)
    return Frame(frame, counts, index)


def _json_rows(text: str) -> tuple[list[Row], Sequence[Any] | None]:
    """The rows of a file: a list of them, one a line, or columns as pandas writes them.

    Returns:
        The rows, and the labels of pandas' rows unless they are their numbers.

    Raises:
        DataError: if it is nothing of the kind.
    """
    text = text.strip()
    try:
        whole = json.loads(text, object_pairs_hook=_object) if text else []
    except json.JSONDecodeError as error:
        if error.msg != "Extra data":
            raise
        whole = list(_lines(text))
    if isinstance(whole, dict) and whole:
        if set(whole) == {"columns", "index", "data"}:  # orient="split"
            rows = [dict(zip(whole["columns"], row, strict=True)) for row in whole["data"]]
            return rows, _unless_numbers(whole["index"])
        if set(whole) == {"schema", "data"}:  # orient="table"
            (key,) = whole["schema"].get("primaryKey", [None])[:1]
            return whole["data"], _unless_numbers([row.pop(key, None) for row in whole["data"]])
        if all(isinstance(column, dict) for column in whole.values()):
            labels = list(dict.fromkeys(label for column in whole.values() for label in column))
            if _are_numbers(whole) and not _are_numbers(labels) and _are_rows(whole):
                return list(whole.values()), _unless_numbers(list(whole))
            rows = [{name: whole[name].get(label) for name in whole} for label in labels]
            return rows, _unless_numbers(labels)
        if all(isinstance(column, list) for column in whole.values()):
            columns = zip(*whole.values(), strict=True)
            return [dict(zip(whole, row, strict=True)) for row in columns], None
    found = [whole] if isinstance(whole, dict) and whole else whole
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise DataError(
            "the JSON is no table; write an object a row: a list of them, or one a line "
            "(DataFrame.to_json(orient='records'))."
        )
    return found, None


def _are_rows(whole: Mapping[str, Row]) -> bool:
    """Whether objects are rows of several types, and no columns, which are of one each."""
    return any(len({isinstance(v, str) for v in row.values()}) > 1 for row in whole.values())


def _are_numbers(texts: Iterable[str]) -> bool:
    return all(text.isdecimal() for text in texts)


def _unless_numbers(labels: Sequence[Any]) -> Sequence[Any] | None:
    """Labels of rows that say more than their places."""
    return None if [str(label) for label in labels] == [*map(str, range(len(labels)))] else labels


def _lines(text: str) -> Iterator[Any]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield json.loads(line, object_pairs_hook=_object)
            except json.JSONDecodeError as error:
                raise DataError(f"line {number} is no JSON ({error.msg}); correct it.") from None


def _object(pairs: list[tuple[str, Any]]) -> Row:
    names = dict(pairs)
    if len(names) < len(pairs):
        twin = next(name for name, count in Counter(n for n, _ in pairs).items() if count > 1)
        raise DataError(f"an object names {twin!r} more than once; name each value once.")
    for text in (text for pair in pairs for text in pair if isinstance(text, str)):
        if not text.isascii() and SURROGATE.search(text):
            raise DataError(f"the text {text!r} is cut within a character; correct it.")
    return names
