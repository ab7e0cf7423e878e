"""What no file system takes as a path."""

from __future__ import annotations

import os

MOST_BYTES = 255
"""Of one name, on nearly all file systems."""


def fault_of_path(path: str | os.PathLike[str]) -> str | None:
    """Why a path cannot be one, in words that go on from it; None if it can."""
    text = os.fspath(path)
    if "\0" in text:
        return "holds a NUL character"
    longest = max(len(os.fsencode(name)) for name in text.split(os.sep))
    if longest > MOST_BYTES:
        return f"has a name of {longest:,} bytes, where {MOST_BYTES} are the most"
    return None
