"""The types of the user's files, reading of NPZ and NPY files, one-sentence errors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdistil.errors import BdistilError, DataError, TeacherError
from bdistil.files.array_files import mapped
from bdistil.store.durable import is_special

PARQUET_SUFFIXES = (".parquet", ".pq", ".parquet.gzip")
TEXT_SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
SERIES_SUFFIXES = (".ts",)
FRAME_SUFFIXES = (".feather", ".arrow", ".ipc", ".orc", *JSON_SUFFIXES, *SERIES_SUFFIXES)
TABLE_SUFFIXES = (*PARQUET_SUFFIXES, *TEXT_SUFFIXES, *FRAME_SUFFIXES)
ARRAY_SUFFIXES = (".npz", ".npy")


def has_suffix(path: Path, suffixes: tuple[str, ...]) -> bool:
    """Whether a file is of one of the types."""
    return path.name.lower().endswith(suffixes)


def name_of(path: Path) -> str:
    """A file's name without its type, or a folder's."""
    name = Path(os.path.realpath(path)).name  # where links lead in a circle, the link's own
    known = sorted((*TABLE_SUFFIXES, *ARRAY_SUFFIXES), key=len, reverse=True)
    suffix = next((suffix for suffix in known if name.lower().endswith(suffix)), "")
    return name.removesuffix(name[len(name) - len(suffix) :]) if suffix else name


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


@contextmanager
def reading(path: Path, alone: bool = True) -> Iterator[None]:
    """Turn whatever damaged bytes raise inside into a data error; named, unless the file is alone.

    Damaged bytes raise errors of any kind: KeyError, zlib.error, TokenError, ...
    """
    with nullcontext() if alone else errors_naming(path):
        try:
            yield
        except BdistilError:
            raise
        except Exception as error:
            raise unreadable(error) from None


def check_file(path: Path, suffixes: tuple[str, ...]) -> None:
    """Refuse a path that is no file of one of the types.

    Raises:
        DataError: if it is missing, a folder, empty or of another type.
    """
    if not path.exists():
        raise DataError("the file does not exist; check the path.")
    refuse_special(path)
    if not path.is_file():
        raise DataError("this is a folder without x.npy; name a file in it, or save x.npy there.")
    if not has_suffix(path, suffixes):
        raise DataError(f"the file type must be one of {', '.join(suffixes)}; convert the file.")
    if path.stat().st_size == 0:
        raise DataError("the file is empty; write it again.")


def refuse_special(path: Path) -> None:
    """Refuse what would block whoever reads it.

    Raises:
        DataError: if a pipe or a device stands there.
    """
    if is_special(path):
        raise DataError("this is a pipe or a device, which can be read only once; save a file.")


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
    except Exception as error:  # of any kind, as in `reading`
        if "allow_pickle" in str(error):
            raise DataError(
                "it is no NPZ or NPY file, or holds Python objects, which are never loaded; save "
                "plain arrays of numbers or text with numpy.savez."
            ) from None
        raise unreadable(error) from None


def _array_in(file: Path) -> NDArray[Any]:
    """One array of a folder, which errors name."""
    with errors_naming(Path(file.name)):
        return read_arrays(file)["x"]


def _mapped(path: Path) -> NDArray[Any]:
    check_file(path, ARRAY_SUFFIXES)
    with reading(path):
        return mapped(path)


def unreadable(error: Exception) -> DataError:
    """What to say of an error that a file raised."""
    if isinstance(error, UnicodeDecodeError):
        return DataError("the file is not UTF-8 text; save it as UTF-8.")
    detail = str(error).strip().splitlines() or [type(error).__name__]
    return DataError(f"the file cannot be read ({detail[0].rstrip('.')}); write it again.")
