"""What no file system takes as a path."""

from __future__ import annotations

import os
from typing import Any

MOST_BYTES = 255
"""Of one name, on nearly all file systems."""


def fault_of_path(path: Any) -> str | None:
    """Why something cannot be the path of a file, in words that go on from it; None if it can."""
    if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str):
        return f"is no path but of type {type(path).__name__}"
    text: str = os.fspath(path)
    if not text:
        return "is empty"
    if "\0" in text:
        return "holds a NUL character"
    try:
        longest = max(len(os.fsencode(name)) for name in text.split(os.sep))
    except UnicodeEncodeError:
        return "holds half a character (a lone surrogate)"
    if longest > MOST_BYTES:
        return f"has a name of {longest:,} bytes, where {MOST_BYTES} are the most"
    return None


def shown_path(path: Any) -> str:
    """It as a message shows it: short, and printable whatever it holds."""
    return ascii(path)[:60] if fault_of_path(path) else repr(str(path))
