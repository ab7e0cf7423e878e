"""Names of a table's columns: each once, and the same in all parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bdistil.errors import DataError
from bdistil.files.wording import some


def check_same_columns(files: Sequence[Path], names: Sequence[Sequence[str]]) -> None:
    """Refuse parts of a table that differ in columns.

    Raises:
        DataError: naming the columns.
    """
    first, *others = names
    for file, own in zip(files[1:], others, strict=True):
        for lacking, there, having in ((file, own, first), (files[0], first, own)):
            if missing := [name for name in having if name not in there]:
                raise DataError(
                    f"{lacking.name} lacks column{'s' if len(missing) > 1 else ''} "
                    f"{some(missing)}, which other parts have; give all parts the same columns."
                )


def refuse_twins(names: Sequence[Any]) -> None:
    """Refuse columns of one name.

    Raises:
        DataError: naming the first.
    """
    for name, count in Counter(names).items():
        if count > 1:
            raise DataError(f"column {name!r} stands there {count} times; rename the others.")
