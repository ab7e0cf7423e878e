"""The rows of a large array a few at a time, where each row is computed with by itself."""

from __future__ import annotations

from collections.abc import Iterator

MOST = 2**20
"""Numbers at once, so that their copies in double precision are no memory to speak of."""


def row_blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Slices of the rows of an array (N, ...), none of more than `MOST` numbers, if it can be."""
    width = 1
    for size in shape[1:]:
        width *= size
    rows = max(1, MOST // max(1, width))
    for start in range(0, shape[0], rows):
        yield slice(start, start + rows)
