"""The three splits as people name them: in folders, file names and columns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdistil.errors import DataError

Parts = NDArray[np.int8]
"""Of each row the split that the user put it in, an index of :data:`SPLITS`, (N,)."""

SPLITS = ("train", "validation", "test")
TRAIN, VALIDATION, TEST = range(3)
SOURCES = {"validation_path": VALIDATION, "test_path": TEST}
"""The split of the spec's paths that are for one."""
WORDS = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("validation", "valid", "val", "dev"), VALIDATION),
    **dict.fromkeys(("test", "testing"), TEST),
}


def part_named(word: str) -> int | None:
    """The split that a word means, such as ``val``; None if it means none."""
    return WORDS.get(word.strip().lower())


def part_in(path: str) -> int | None:
    """The split that a path names, such as ``data/train-00000-of-00002.parquet``; else None.

    Of several, the last one counts.
    """
    found = [part for word in re.split(r"[\W_]+", path) if (part := part_named(word)) is not None]
    return found[-1] if found else None


def parts_in(values: Iterable[Any], what: str) -> Parts:
    """The split that each value of a column names.

    Args:
        values: of the column.
        what: names the column in messages.

    Raises:
        DataError: if a value names none.
    """
    texts = [str(value) for value in values]
    parts = [part_named(text) for text in texts]
    if None in parts:
        row = parts.index(None)
        raise DataError(
            f"{what} holds {texts[row]!r} in row {row} (counted from 0), which is no split; write "
            "train, validation or test."
        )
    return np.array(parts, np.int8)


def looks_like_parts(values: Iterable[Any]) -> bool:
    """Whether values name splits, training among them, and nothing else."""
    found = {part_named(value) if isinstance(value, str) else None for value in values}
    return TRAIN in found and len(found) > 1 and None not in found


def join_parts(found: Mapping[str, tuple[Parts | None, int]]) -> Parts | None:
    """The split of all rows, those of the spec's paths one below the other.

    Args:
        found: of each path, by the spec's key, the splits that its files name and its rows.

    Returns:
        int8 (N,), or None if nothing names a split.

    Raises:
        DataError: if a split is given twice.
    """
    own, _ = found["path"]
    for key, part in SOURCES.items():
        if key in found and own is not None and (own == part).any():
            raise DataError(
                f"data.{key} gives the {SPLITS[part]} split, but data.path has one too; give one."
            )
    if own is None and len(found) == 1:
        return None
    return np.concatenate(
        [
            np.full(rows, SOURCES.get(key, TRAIN), np.int8)
            if key in SOURCES or parts is None
            else parts
            for key, (parts, rows) in found.items()
        ]
    )
