"""What workers learn when a round opens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bdistil.core.game import Summary
from bdistil.core.student import Student
from bdistil.runs.trial import TrialRequest
from bdistil.searching.margin_shard import ShardState

Ask = Callable[[Sequence[TrialRequest], int, Sequence[float]], Sequence[bool]]
"""Given candidates of one class, the milestone's step and their losses: which are to be cut."""


@dataclass(frozen=True)
class Announcement:
    """What a worker needs of a round beyond what it knows of the one before.

    Attributes:
        round: t, counted from 1.
        students: those accepted since the worker's last round, first to last: as they are in this
            process, or as safetensors.
        summary: of the whole margin.
        shards: each shard's state, in row order; none in round 1, when all margins are zero.
        ask: tells candidates of the round at their milestones which go no further; None where none
            is cut.
    """

    round: int
    students: Sequence[Student | bytes]
    summary: Summary
    shards: list[Any]
    ask: Ask | None = None

    def fetch(self) -> list[ShardState]:
        """Every shard's state."""
        return self.shards
