"""What workers learn when a round opens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bdistil.core.game import Summary
from bdistil.searching.margin_shard import ShardState


@dataclass(frozen=True)
class Announcement:
    """What a worker needs of a round.

    Attributes:
        round: t, counted from 1.
        students: safetensors of the accepted students, first to last.
        summary: of the whole margin.
        shards: each shard's state, in row order; none in round 1, when all margins are zero.
    """

    round: int
    students: list[bytes]
    summary: Summary
    shards: list[Any]

    def fetch(self) -> list[ShardState]:
        """Every shard's state."""
        return self.shards
