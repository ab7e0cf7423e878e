"""Why a worker was lost, in one clause, from what Ray says about it."""

from __future__ import annotations

import re

CAUSES = (  # the first sign counts: Ray's explanations go on to list all that might have been
    ("low on memory", "the node{at} ran out of memory"),
    ("node has died", "the node{at} was lost"),
    ("worker process has died", "the process{on} crashed or was killed, often for want of memory"),
)


def why_lost(error: str) -> str:
    """The cause in the text of a Ray error; for a traceback, the exception at its end."""
    node = re.search(r"^\s*ip: (\S+)$", error, flags=re.MULTILINE)
    at, on = (f" {node[1]}", f" on {node[1]}") if node else ("", "")
    for sign, cause in CAUSES:
        if sign in error:
            return cause.format(at=at, on=on)
    last = re.split(r"^(?=[\w.]+: )", error, flags=re.MULTILINE)[-1]
    return " ".join(last.split())[:300] or "Ray gives no reason"
