"""Which of the user's own sources a path is: arrays, a table, or a folder of files."""

from __future__ import annotations

from collections.abc import Sequence

from bdistil.data.array_sources import load_arrays
from bdistil.data.dataset import Dataset
from bdistil.data.folders import load_folder
from bdistil.data.table import load_table
from bdistil.errors import DataError
from bdistil.files.file_readers import (
    ARRAY_SUFFIXES,
    PARQUET_SUFFIXES,
    TABLE_SUFFIXES,
    TEXT_SUFFIXES,
    errors_naming,
    has_suffix,
)
from bdistil.files.media import MEDIA, medium_of_folder
from bdistil.files.table_files import table_files
from bdistil.spec import DataSpec


def load_own(spec: DataSpec, seed: int, teacher_columns: Sequence[str] | None = None) -> Dataset:
    """Load the user's own data from `data.path`; for the rest see :func:`load_dataset`."""
    path = spec.path
    assert path is not None
    if has_suffix(path, ARRAY_SUFFIXES) or (path / "x.npy").exists():
        return load_arrays(spec, seed, teacher_columns)
    if path.is_dir():
        medium = medium_of_folder(path, (*PARQUET_SUFFIXES, *TEXT_SUFFIXES))
        if medium is not None:
            return load_folder(spec, seed, medium, teacher_columns)
        with errors_naming(path):
            if not table_files(path):
                media = ", ".join(suffix for each in MEDIA for suffix in each.suffixes)
                raise DataError(
                    "the folder holds none of what can be read: a folder for each class of "
                    f"photographs or recordings ({media}), a table ({', '.join(TABLE_SUFFIXES)}), "
                    "or x.npy and y.npy."
                )
    return load_table(spec, seed, teacher_columns)
