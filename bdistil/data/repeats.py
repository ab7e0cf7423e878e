"""Rows whose features are equal, told by hashes, so that none stands in two splits."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bdistil.data.lists import holds_numbers, lengths_of
from bdistil.optional import require

if TYPE_CHECKING:
    import pandas as pd

    from bdistil.files.column_file import ColumnFile

MIX = np.uint64(0x9E3779B97F4A7C15)


def row_hashes(x: NDArray[Any]) -> NDArray[np.uint64]:
    """A hash of each example, uint64 (N,); of an array on disk, block by block."""
    hashes = (hashlib.blake2b(np.ascontiguousarray(row).data, digest_size=8).digest() for row in x)
    return np.frombuffer(b"".join(hashes), np.uint64)


def table_hashes(
    frame: pd.DataFrame | ColumnFile, names: Sequence[str]
) -> NDArray[np.uint64] | None:
    """A hash of each row's values in some columns, uint64 (N,); None if values have no hash."""
    hashed = require("pandas", "table").util.hash_pandas_object
    total: Any = np.uint64(0)
    for name in names:
        values = frame[name]
        try:
            own = hashed(values, index=False).to_numpy()
        except TypeError:  # lists
            if not holds_numbers(values) or len(lengths_of(values)) > 1:
                return None
            own = row_hashes(np.stack([np.asarray(value, np.float64) for value in values]))
        total = (total ^ own) * MIX
    hashes: NDArray[np.uint64] = total
    return hashes
