"""What workers learn when a round opens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bdistil.core.game import Summary
from bdistil.core.student import Student
from bdistil.searching.margin_shard import ShardState


@dataclass(frozen=True)
class Announcement:
    """What a worker needs of a round beyond what it knows of the one before.

    Attributes:
        round: t, counted from 1.
        students: those accepted since the worker's last round, first to last: as they are in this
            process, or as safetensors.
        summary: of the whole margin.
        shards: each shard's state, in row order; none in round 1, when all margins are zero.
    """

    round: int
    students: Sequence[Student | bytes]
    summary: Summary
    shards: list[Any]

    def fetch(self) -> list[ShardState]:
        """Every shard's state."""
        return self.shards
