"""The kinds of media: which of them a folder or a column of a table holds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bdistil.errors import DataError
from bdistil.files.class_folders import visible
from bdistil.files.encoded import Medium, content_of
from bdistil.files.file_readers import has_suffix
from bdistil.files.photographs import PHOTOGRAPHS
from bdistil.files.recordings import RECORDINGS

if TYPE_CHECKING:
    import pandas as pd

    from bdistil.files.column_file import ColumnFile
    from bdistil.spec import DataSpec

MEDIA: tuple[Medium[Any, Any], ...] = (PHOTOGRAPHS, RECORDINGS)
LOOKED_AT = 16
"""Rows by which a column is told."""


def medium_of_folder(folder: Path, others: tuple[str, ...]) -> Medium[Any, Any] | None:
    """What most files of a folder are, if that is a medium.

    Args:
        folder: looked through at any depth.
        others: suffixes of files that count too, such as a table's.
    """
    files = [path for path, is_folder in visible(folder) if not is_folder]
    counts = Counter({medium: _count(files, medium.suffixes) for medium in MEDIA})
    (medium, most), *_ = counts.most_common()
    return medium if most > _count(files, others) else None


def _count(files: list[Path], suffixes: tuple[str, ...]) -> int:
    return sum(has_suffix(path, suffixes) for path in files)


def media_columns(table: ColumnFile) -> dict[str, Medium[Any, Any]]:
    """The columns of bytes that hold photographs or recordings, and which of them."""
    found = {}
    for name in table.of_bytes:
        batch, _ = next(table.blocks([name], LOOKED_AT))
        contents = map(content_of, batch.column(0).to_pylist())
        medium = _medium_of(contents)
        if medium is not None:
            found[name] = medium
    return found


def refuse_media(frame: pd.DataFrame, names: Sequence[str], spec: DataSpec) -> None:
    """Refuse photographs and recordings among the features of a table that is in memory.

    Args:
        frame: the table.
        names: of its columns of bytes.
        spec: that may leave them out.

    Raises:
        DataError: naming the column.
    """
    for name in names:
        unused = name in spec.ignore or name not in (spec.features or names)
        if unused or (medium := _medium_of(map(content_of, frame[name][:LOOKED_AT]))) is None:
            continue
        raise DataError(
            f"column {name!r} holds {medium.noun}s, which are read from Parquet alone; save the "
            "table as Parquet, or leave the column out with data.ignore."
        )


def _medium_of(contents: Iterable[bytes | None]) -> Medium[Any, Any] | None:
    first = next((content for content in contents if content), b"")
    return next((m for m in MEDIA if re.match(m.magic, first, re.DOTALL)), None)
