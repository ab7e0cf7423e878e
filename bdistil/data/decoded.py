"""Photographs and recordings as features of a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdistil.data.data_card import ColumnNote
from bdistil.data.own import check_unused
from bdistil.data.repeats import row_hashes
from bdistil.data.split import SplitIndices
from bdistil.files.array_files import (
    block_rows,
    cache_folder,
    is_large,
    split_folder,
    split_to_files,
)
from bdistil.files.encoded import Examples, Medium, decoded_to_suit
from bdistil.names import Domain
from bdistil.spec import DataSpec


class DecodedFeatures:
    """Decoded examples as :class:`bdistil.data.own.Features`.

    Args:
        examples: to decode.
        medium: what they are.
        spec: of the data, with the wishes for the examples' form.
        column_notes: on the columns of their table, if they are from one.
        names: of the table's columns that hold them and their labels, as `column` and `label`.

    Raises:
        SpecError: if the spec has wishes for another medium.
        DataError: if examples are damaged, the first few by name.
        MissingDependencyError: if the package that decodes them is not installed.
    """

    def __init__(
        self,
        examples: Examples,
        medium: Medium[Any, Any],
        spec: DataSpec,
        column_notes: Sequence[ColumnNote] = (),
        names: Mapping[str, Any] | None = None,
    ) -> None:
        check_unused(spec, medium.key, f"holds {medium.noun}s")
        assert spec.path is not None
        self.domain: Domain = medium.domain
        self.cache = cache_folder(spec.path)
        self.x, form = decoded_to_suit(examples, medium, spec, self.cache)
        self.padding, self.note = form.padding, form.said
        facts = form.model_dump(mode="json", exclude={"said"})
        self.form: dict[str, Any] | None = {"medium": medium.noun, **facts, **(names or {})}
        self.column_notes = column_notes

    def hashes(self) -> NDArray[np.uint64] | None:
        """Of the decoded examples."""
        return row_hashes(self.x)

    def splits(self, rows: SplitIndices) -> list[NDArray[Any]]:
        """Features of each split: float32 in memory, or mapped if they are too many for it."""
        if not is_large(self.x.size):
            return [self.x[own].astype(np.float32) for own in rows]
        shape, step = self.x.shape[1:], block_rows(self.x.shape[1:])
        blocks = (self.x[start : start + step] for start in range(0, len(self.x), step))
        folder = split_folder(self.cache, rows._asdict(), Path(str(self.x.filename)).name)
        return split_to_files(folder, shape, blocks, rows._asdict(), self.x.dtype)

    def columns(self) -> None:
        """They are not made of columns."""

    def said(self) -> tuple[list[ColumnNote], list[str]]:
        """What became of the columns of their table, and what form they have."""
        return [*self.column_notes], [self.note]
