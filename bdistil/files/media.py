"""The kinds of media: which of them a folder or a column of a table holds."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bdistil.files.class_folders import visible
from bdistil.files.encoded import Medium, content_of
from bdistil.files.file_readers import has_suffix
from bdistil.files.photographs import PHOTOGRAPHS
from bdistil.files.recordings import RECORDINGS

if TYPE_CHECKING:
    from bdistil.files.column_file import ColumnFile

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
        first = next((content for content in contents if content), b"")
        medium = next((m for m in MEDIA if re.match(m.magic, first, re.DOTALL)), None)
        if medium is not None:
            found[name] = medium
    return found
