"""Which place in a stage's scratch memory each intermediate result has."""

from __future__ import annotations


class Scratch:
    """One array of floats, given out piece by piece; freed pieces are given out again.

    Attributes:
        size: floats that the array must have.
    """

    def __init__(self) -> None:
        self.size = 0
        self._taken: dict[int, int] = {}

    def take(self, floats: int) -> int:
        """The offset of the first free piece that is large enough."""
        start = 0
        for offset, size in sorted(self._taken.items()):
            if start + floats <= offset:
                break
            start = offset + size
        self._taken[start] = max(floats, 1)
        self.size = max(self.size, start + floats)
        return start

    def free(self, offset: int) -> None:
        """Give a piece back."""
        del self._taken[offset]
