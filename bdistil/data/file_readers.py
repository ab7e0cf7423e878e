"""Reading of the user's Parquet, CSV, NPZ and NPY files, with one-sentence errors."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bdistil.data.array_files import mapped
from bdistil.errors import DataError, TeacherError
from bdistil.optional import require

if TYPE_CHECKING:
    import pandas as pd

TABLE_SUFFIXES = (".parquet", ".csv")
ARRAY_SUFFIXES = (".npz", ".npy")
SEPARATORS = ",;\t"


@contextmanager
def errors_naming(path: Path, row: int = 0) -> Iterator[None]:
    """Put the file's path before the message of a data or teacher error raised inside.

    Args:
        path: the file.
        row: of the file, at which begins what is looked at.
    """
    try:
        yield
    except (DataError, TeacherError) as error:
        place = f"{path}, from row {row} on" if row else str(path)
        raise type(error)(f"{place}: {error}") from None


def check_file(path: Path, suffixes: tuple[str, ...]) -> None:
    """Refuse a path that is no file of one of the types.

    Raises:
        DataError: if it is missing, a folder, empty or of another type.
    """
    if not path.exists():
        raise DataError("the file does not exist; check the path.")
    if not path.is_file():
        raise DataError("this is a folder without x.npy; name a file in it, or save x.npy there.")
    if path.suffix.lower() not in suffixes:
        raise DataError(f"the file type must be one of {', '.join(suffixes)}; convert the file.")
    if path.stat().st_size == 0:
        raise DataError("the file is empty; write it again.")


def read_table(path: Path, texts: Collection[str] = ()) -> pd.DataFrame:
    """Read a Parquet or CSV file; CSV may be separated by comma, semicolon or tab.

    Args:
        path: the file.
        texts: columns that CSV must not take for numbers or booleans: "007" stays what it is.

    Raises:
        DataError: if the file is missing, empty or damaged.
        MissingDependencyError: if pandas or pyarrow is not installed.
    """
    check_file(path, TABLE_SUFFIXES)
    pandas = require("pandas", "table")
    is_parquet = path.suffix.lower() == ".parquet"
    if is_parquet:
        require("pyarrow", "table")
    try:
        frame = pandas.read_parquet(path) if is_parquet else _read_csv(path, texts)
    except DataError:
        raise
    except Exception as error:  # damaged bytes raise any kind: KeyError, TypeError, ...
        raise _unreadable(error) from None
    return _plain(frame)


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read all arrays of an NPZ file, or the one of an NPY file under the name `x`.

    Of a folder, every NPY file is an array; `x` is mapped instead of read.

    Raises:
        DataError: if the file is missing, empty, damaged or needs pickle.
    """
    if (path / "x.npy").exists():
        files = sorted(path.glob("*.npy"))
        arrays = {file.stem: _array_in(file) for file in files if file.stem != "x"}
        return {"x": _mapped(path / "x.npy")} | arrays
    check_file(path, ARRAY_SUFFIXES)
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"x": loaded}
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except Exception as error:  # damaged bytes raise any kind: zlib.error, TokenError, ...
        if "allow_pickle" in str(error):
            raise DataError(
                "it is no NPZ or NPY file, or holds Python objects, which are never loaded; save "
                "plain arrays of numbers or text with numpy.savez."
            ) from None
        raise _unreadable(error) from None


def _array_in(file: Path) -> NDArray[Any]:
    """One array of a folder, which errors name."""
    with errors_naming(Path(file.name)):
        return read_arrays(file)["x"]


def _mapped(path: Path) -> NDArray[Any]:
    check_file(path, ARRAY_SUFFIXES)
    try:
        return mapped(path)
    except Exception as error:  # as above
        raise _unreadable(error) from None


def _read_csv(path: Path, texts: Collection[str]) -> pd.DataFrame:
    import pandas

    form: dict[str, Any] = {"sep": _separator(path), "skipinitialspace": True}
    header = pandas.read_csv(path, header=None, nrows=1, dtype=str, **form)
    names = header.iloc[0].dropna()
    _refuse_twins(names[names.duplicated()])
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
    return frame


def _separator(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        header = file.readline()
    return max(SEPARATORS, key=header.count)


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Text as column names and no index, which is never a feature."""
    frame = frame.reset_index(drop=True)
    frame.columns = frame.columns.map(str)
    _refuse_twins(frame.columns[frame.columns.duplicated()])
    if frame.empty:
        raise DataError("the table has no rows; give one with examples.")
    return frame


def _refuse_twins(twice: Iterable[Any]) -> None:
    for name in twice:
        raise DataError(f"column {name!r} stands there twice; rename one.")


def _unreadable(error: Exception) -> DataError:
    if isinstance(error, UnicodeDecodeError):
        return DataError("the file is not UTF-8 text; save it as UTF-8.")
    detail = str(error).strip().splitlines() or [type(error).__name__]
    return DataError(f"the file cannot be read ({detail[0].rstrip('.')}); write it again.")
