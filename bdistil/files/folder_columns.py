"""Folders ``key=value`` above the parts of a table are columns, as Hive and Spark write them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import numpy as np

from bdistil.files.column_names import refuse_twins

if TYPE_CHECKING:
    import pandas as pd

NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


def folder_columns(folders: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    """The values of each part by name, from the names of its folders; as numbers where all are."""
    keys = [_keys(names) for names in folders]
    for name in keys[0]:
        values = [own.get(name) for own in keys]
        present = {value for value in values if value is not None}
        if not all(value.lstrip("-").isdecimal() for value in present):
            continue
        if len({*map(int, present)}) == len(present):  # 01 and 1 are two
            for own in keys:
                own[name] = None if own.get(name) is None else int(own[name])
    return keys


def with_folder_columns(
    frame: pd.DataFrame, folders: Sequence[Sequence[str]], rows: Sequence[int]
) -> pd.DataFrame:
    """A frame of parts below one another, with these columns.

    Args:
        frame: of all parts.
        folders: of each part, the names of its folders.
        rows: of each part.

    Raises:
        DataError: if a folder has the name of a column.
    """
    keys = folder_columns(folders)
    names = list(dict.fromkeys(name for own in keys for name in own))
    refuse_twins([*frame.columns, *names])
    for name in names:
        values = np.array([own.get(name) for own in keys], dtype=object)
        frame[name] = np.repeat(values, rows)
        frame[name] = frame[name].infer_objects()
    return frame


def _keys(folders: Sequence[str]) -> dict[str, Any]:
    pairs = (name.split("=", 1) for name in folders if "=" in name)
    return {key: None if value == NO_VALUE else unquote(value) for key, value in pairs}
