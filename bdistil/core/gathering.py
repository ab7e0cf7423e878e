"""Results of consecutive rows, written into one tensor as they come.

Kept one by one until the last, small results come to lie in the memory that larger intermediate
ones have just left, which then serves no other of their size: the heap grows by one of these a
piece.
"""

from __future__ import annotations

from torch import Tensor

from bdistil.core.connections import Hidden


class Gathered:
    """A tensor that is filled piece by piece.

    Args:
        rows: of all pieces together.
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.filled = 0
        self.whole: Tensor | None = None

    def add(self, piece: Tensor) -> None:
        """Take in the next rows, (n, ...); they decide on dtype and device."""
        if self.whole is None:
            self.whole = piece.new_empty((self.rows, *piece.shape[1:]))
        self.whole[self.filled : self.filled + len(piece)] = piece
        self.filled += len(piece)

    @property
    def tensor(self) -> Tensor:
        """All rows, (rows, ...)."""
        assert self.whole is not None, "there is no piece"
        assert self.filled == self.rows, f"{self.filled} of {self.rows} rows have come"
        return self.whole


class GatheredHidden:
    """Hidden states of consecutive rows as one.

    Args:
        rows: of all pieces together.
    """

    def __init__(self, rows: int) -> None:
        self.features = Gathered(rows)
        self.memory = Gathered(rows)

    def add(self, state: Hidden) -> None:
        """Take in those of the next rows."""
        self.features.add(state.features)
        if state.memory is not None:
            self.memory.add(state.memory)

    @property
    def hidden(self) -> Hidden:
        """All of them."""
        memory = None if self.memory.whole is None else self.memory.tensor
        return Hidden(self.features.tensor, memory)
