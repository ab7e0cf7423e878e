"""Parts of messages."""

from __future__ import annotations

from collections.abc import Sequence

SHOWN = 8
HANDFUL = 5
"""Problems that are listed at once."""


def some(names: Sequence[str], most: int = SHOWN) -> str:
    """At most so many names as a reader takes in."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
