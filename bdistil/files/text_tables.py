"""Tables as text: comma, semicolon or tab between the fields, packed by gzip or not."""

from __future__ import annotations

import gzip
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bdistil.errors import DataError
from bdistil.files.column_file import check_same_columns, refuse_twins
from bdistil.files.file_readers import reading
from bdistil.optional import require

if TYPE_CHECKING:
    import pandas as pd

SEPARATORS = ",;\t"


def read_texts(paths: Sequence[Path], texts: Collection[str] = ()) -> list[pd.DataFrame]:
    """Read the parts of a table.

    Args:
        paths: the files.
        texts: columns that must not be taken for numbers or booleans: "007" stays what it is.

    Raises:
        DataError: if a file is damaged, or the parts differ in columns.
        MissingDependencyError: if pandas is not installed.
    """
    frames = []
    for path in paths:
        with reading(path, alone=len(paths) == 1):
            frames.append(_read_text(path, texts))
    check_same_columns(paths, [list(frame.columns) for frame in frames])
    numeric = require("pandas", "table").api.types.is_numeric_dtype
    kinds = {str(name): {bool(numeric(frame[name])) for frame in frames} for name in frames[0]}
    mixed = {name for name, own in kinds.items() if len(own) > 1 and name not in texts}
    return read_texts(paths, {*texts, *mixed}) if mixed else frames


def _read_text(path: Path, texts: Collection[str]) -> pd.DataFrame:
    import pandas

    form: dict[str, Any] = {"sep": _separator(path), "skipinitialspace": True}
    header = pandas.read_csv(path, header=None, nrows=1, dtype=str, **form)
    names = header.iloc[0].dropna()
    refuse_twins([*names])
    types = {str(name): str for name in names if name in texts}
    options: dict[str, Any] = {"dtype": types, "low_memory": False, "index_col": False}
    with warnings.catch_warnings():
        warnings.simplefilter("error", pandas.errors.ParserWarning)  # fields that it would drop
        try:
            frame: pd.DataFrame = pandas.read_csv(path, **options, **form)
        except pandas.errors.ParserWarning:
            raise DataError(
                f"rows have more fields than the {len(names)} names in the header; name every "
                "column, or end the rows where the header ends."
            ) from None
    frame.columns = frame.columns.map(str)
    return frame


def _separator(path: Path) -> str:
    opened = gzip.open if path.suffix.lower() == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        header = file.readline()
    return max(SEPARATORS, key=header.count)
