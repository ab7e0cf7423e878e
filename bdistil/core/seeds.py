"""Every random state derives from (seed, round, trial number), never from a global generator."""

from __future__ import annotations

import hashlib


def derived_seed(*parts: object) -> int:
    """A 31-bit seed that depends on all of `parts` and on nothing else.

    Samplers, students and data orders take their seeds from (seed, round, trial number), so that a
    resumed search goes on exactly as an uninterrupted one would.
    """
    digest = hashlib.sha256(":".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
