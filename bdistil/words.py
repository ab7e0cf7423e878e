"""Words that sentences for people share."""

from __future__ import annotations


def counted(count: float, noun: str, plural: str = "s") -> str:
    """Such as `1 trial`, `1,079 examples`, `0.5 GPUs` and, with another ending, `2 searches`."""
    number = f"{count:,}" if isinstance(count, int) else f"{count:g}"
    return f"{number} {noun}{plural * (count != 1)}"
