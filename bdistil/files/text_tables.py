"""Tables as text: comma, semicolon or tab between the fields, packed by gzip or not."""

from __future__ import annotations

import gzip
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bdistil.errors import DataError
from bdistil.files.column_names import check_same_columns, refuse_twins
from bdistil.files.file_readers import reading
from bdistil.optional import require
from bdistil.runtime.dates import ISO

if TYPE_CHECKING:
    import pandas as pd

SEPARATORS = ",;\t"
GZIP = "packed by gzip"
FIRST_BYTES = {
    b"\x1f\x8b": GZIP,
    b"PK\x03\x04": "a spreadsheet or packed by zip",
    b"\xd0\xcf\x11\xe0": "a spreadsheet",
    b"PAR1\x15": "Parquet",
    b"BZh91AY&SY": "packed by bzip2",
    b"\xfd7zXZ": "packed by xz",
    b"\x28\xb5\x2f\xfd": "packed by zstd",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
    b"\x93NUMPY": "a numpy array",
}
"""Of files that people name as if they were text."""
MISSING_WORDS = frozenset(
    ("NA", "N/A", "n/a", "na", "NaN", "nan", "NULL", "Null", "null", "None", "none", "#N/A", "<NA>")
)
"""What pandas, R, SQL and spreadsheets write where a number is missing."""
ZEROS_IN_FRONT = r"0\d+"
BOOLEANS = {
    word: word.lower() == "true" for word in ("True", "TRUE", "true", "False", "FALSE", "false")
}


def read_texts(
    paths: Sequence[Path], texts: Collection[str] = (), names: Collection[str] = ()
) -> list[pd.DataFrame]:
    """Read the parts of a table.

    Args:
        paths: the files.
        texts: columns that must not be taken for numbers or booleans: "7" stays what it is.
        names: columns whose numbers are texts if one is written with zeros in front: "007".

    Raises:
        DataError: if a file is damaged, or the parts differ in columns.
        MissingDependencyError: if pandas is not installed.
    """
    frames = []
    for path in paths:
        with reading(path, alone=len(paths) == 1):
            frames.append(_read_text(path, texts, names))
    check_same_columns(paths, [list(frame.columns) for frame in frames])
    numeric = require("pandas", "table").api.types.is_numeric_dtype
    filled = [frame for frame in frames if len(frame)]
    kinds = {str(name): {bool(numeric(frame[name])) for frame in filled} for name in frames[0]}
    mixed = {name for name, own in kinds.items() if len(own) > 1 and name not in texts}
    return read_texts(paths, {*texts, *mixed}) if mixed else frames


def _read_text(path: Path, texts: Collection[str], names: Collection[str]) -> pd.DataFrame:
    import pandas

    _check_text(path)
    form: dict[str, Any] = {"sep": _separator(path), "skipinitialspace": True}
    header = pandas.read_csv(path, header=None, nrows=1, dtype=str, **form)
    columns = header.iloc[0].dropna()
    refuse_twins([*columns])
    types = {str(name): str for name in columns if name in texts}
    options: dict[str, Any] = {"dtype": types, "low_memory": False, "index_col": False}
    options |= {"keep_default_na": False, "na_values": [""]}
    with warnings.catch_warnings():
        warnings.simplefilter("error", pandas.errors.ParserWarning)  # fields that it would drop
        try:
            frame: pd.DataFrame = pandas.read_csv(path, **options, **form)
        except pandas.errors.ParserWarning:
            raise DataError(
                f"rows have more fields than the {len(columns)} names in the header; name every "
                "column, or end the rows where the header ends."
            ) from None
    frame.columns = frame.columns.map(str)
    for name in frame.columns[frame.dtypes.map(pandas.api.types.is_string_dtype)]:
        frame[name] = _read_words(frame[name], is_text=name in texts)
    for at, name in enumerate(frame.columns):
        if name in names and pandas.api.types.is_integer_dtype(frame[name]):
            written = pandas.read_csv(path, **options | {"dtype": str, "usecols": [at]}, **form)
            written = written.iloc[:, 0]
            if written.str.fullmatch(ZEROS_IN_FRONT).any():
                frame[name] = written
    return frame


def _read_words(column: pd.Series[Any], is_text: bool) -> pd.Series[Any]:
    """A column of text, in which words such as "NA" stand for missing values among other things.

    Among numbers, booleans and dates they do, and the column becomes what else it holds; among
    texts "None" is a text as any other, as it is in Parquet.
    """
    import pandas

    is_word = column.isin(MISSING_WORDS)
    others = column[~is_word].dropna()
    if (
        others.empty or not others.map(lambda value: isinstance(value, str)).all()
    ):  # booleans beside empty fields
        return column
    if others.map(ISO.fullmatch).notna().all():
        return column.where(~is_word)
    if is_text:
        return column
    if others.isin(BOOLEANS).all():
        return column.map(BOOLEANS, na_action="ignore")
    if pandas.to_numeric(others, errors="coerce").notna().all():
        return pandas.to_numeric(column.where(~is_word))
    return column


def _check_text(path: Path) -> None:
    """Refuse what is no text, or is packed otherwise than its name says.

    Raises:
        DataError: naming what it is.
    """
    with path.open("rb") as file:
        start = file.read(16)
    found = next((kind for first, kind in FIRST_BYTES.items() if start.startswith(first)), "")
    stem, packed = path.name.rpartition(".")[0], path.suffix.lower() == ".gz"
    if packed and found != GZIP:
        what = f"{found}, not gzip" if found else "not packed by gzip, as its name says"
        raise DataError(f"the file is {what}; name it by what it is, such as {stem}.")
    if found and not packed:
        remedy = f"name it {path.name}.gz" if found == GZIP else "save it as text, in UTF-8"
        raise DataError(f"the file is {found}, no text; {remedy}.")


def _separator(path: Path) -> str:
    opened = gzip.open if path.suffix.lower() == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        header = file.readline()
    return max(SEPARATORS, key=header.count)
