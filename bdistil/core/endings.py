"""What became of a candidate that was not stopped, and the same as JSON knows it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from bdistil.core.find_weak_learner import Finding
from bdistil.core.milestones import Cut
from bdistil.errors import SearchError

Ended = Finding | Cut | SearchError
"""Its figures, how far it came, or why it failed."""

KINDS: Mapping[str, TypeAdapter[Finding] | TypeAdapter[Cut]] = {
    "finished": TypeAdapter(Finding),
    "cut": TypeAdapter(Cut),
}


def ended_values(ended: Ended) -> dict[str, Any]:
    """An ending in plain values."""
    if isinstance(ended, SearchError):
        return {"failed": str(ended)}
    return {"finished" if isinstance(ended, Finding) else "cut": dataclasses.asdict(ended)}


def ended_from(values: Mapping[str, Any]) -> Ended:
    """The ending that :func:`ended_values` wrote.

    Raises:
        ValueError: if it is none.
    """
    ((kind, found),) = values.items()
    return SearchError(found) if kind == "failed" else KINDS[kind].validate_python(found)
