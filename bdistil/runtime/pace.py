"""How long calls have lately taken, so as not to begin what will not be done in time."""

from __future__ import annotations

import time

LIFE = 1.0  # seconds; what was measured longer ago may have been a slow moment


class Pace:
    """The least time of each kind of call, as long as it is recent."""

    def __init__(self) -> None:
        self._seen: dict[int, dict[int, tuple[float, float]]] = {}

    def note(self, kind: int, examples: int, seconds: float) -> None:
        """A call has taken so long."""
        seen, now = self._seen.setdefault(kind, {}), time.perf_counter()
        least, when = seen.get(examples, (seconds, 0.0))
        if seconds <= least or now - when > LIFE:
            seen[examples] = seconds, now

    def expected(self, kind: int, examples: int) -> float | None:
        """Seconds that a call takes, at most in proportion to its examples; None if not known."""
        now = time.perf_counter()
        seen = dict(self._seen.get(kind, {}))  # another thread may note something
        recent = [
            least * max(1.0, examples / count)
            for count, (least, when) in seen.items()
            if now - when <= LIFE
        ]
        return min(recent, default=None)
