"""How long calls have lately taken, so as not to begin what will not be done in time."""

from __future__ import annotations

import math
import time
from typing import NamedTuple

LIFE = 1.0  # seconds; what was measured longer ago may have been a slow moment
MOST_SIZES = 16  # of batches, of each kind of call; the oldest is forgotten


class Seen(NamedTuple):
    """The least time of some calls, begun at one time.

    Attributes:
        least: seconds, of the calls since then.
        before: of those in the time before that, lest one slow moment count for all; infinite if
            there were none.
        since: by ``time.perf_counter()``.
    """

    least: float
    before: float
    since: float


class Pace:
    """The least time of each kind of call, as long as it is recent."""

    def __init__(self) -> None:
        self._seen: dict[int, dict[int, Seen]] = {}

    def note(self, kind: int, examples: int, seconds: float) -> None:
        """A call has taken so long."""
        seen, now = self._seen.setdefault(kind, {}), time.perf_counter()
        known = seen.get(examples)
        if known is None:
            if len(seen) >= MOST_SIZES:
                self._seen[kind] = seen = dict(sorted(seen.items(), key=_since)[1:])
            seen[examples] = Seen(seconds, math.inf, now)
        elif now - known.since > LIFE:
            before = known.least if now - known.since <= 2 * LIFE else math.inf
            seen[examples] = Seen(seconds, before, now)
        elif seconds < known.least:
            seen[examples] = Seen(seconds, known.before, known.since)

    def expected(self, kind: int, examples: int, life: float = LIFE) -> float | None:
        """Seconds that a call takes, at most in proportion to its examples; None if not known.

        Args:
            kind: of the call.
            examples: of its batch.
            life: seconds for which what was measured is believed.
        """
        oldest, found = time.perf_counter() - life, math.inf
        for count, (least, before, since) in list(self._seen.get(kind, {}).items()):
            if since >= oldest:
                found = min(found, min(least, before) * max(1.0, examples / count))
        return None if found == math.inf else found

    def at_least(self, kind: int, examples: int) -> float:
        """Seconds that a call takes for certain, as a smaller batch has lately; 0 if not known."""
        oldest = time.perf_counter() - LIFE
        return max(
            (
                min(least, before)
                for count, (least, before, since) in list(self._seen.get(kind, {}).items())
                if since >= oldest and count <= examples
            ),
            default=0.0,
        )


def _since(noted: tuple[int, Seen]) -> float:
    return noted[1].since
