"""The board: one small actor on the driver's node through which rounds reach the workers.

It holds the open round (references to the margin, the accepted students), takes the trained
candidates' weights, and tells workers the moment a round closes. Weights of losers go with the
round; nothing of them reaches a disk.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy


@dataclass(frozen=True)
class Announcement:
    """What the workers need of a round.

    Attributes:
        round: t, counted from 1.
        students: safetensors of the accepted students, first to last.
        margin: object references to the shards of M, float32, in row order.
    """

    round: int
    students: list[bytes]
    margin: list[Any] = field(default_factory=list)


class Board:
    """State of the open round; runs as an asynchronous actor (see :class:`BoardClient`)."""

    def __init__(self) -> None:
        self.announcement: Announcement | None = None
        self.candidates: dict[int, bytes] = {}
        self.changed = asyncio.Condition()

    async def open(self, announcement: Announcement | None) -> None:
        """Open a round and so close the one before; None closes without opening."""
        async with self.changed:
            self.announcement = announcement
            self.candidates = {}
            self.changed.notify_all()

    async def announced(self, round_number: int) -> Announcement | None:
        """The announcement of a round, None if it is not the open one."""
        return self.announcement if self._is_open(round_number) else None

    async def closed(self, round_number: int) -> bool:
        """Answers as soon as the round is closed."""
        async with self.changed:
            await self.changed.wait_for(lambda: not self._is_open(round_number))
        return True

    async def deposit(self, round_number: int, number: int, weights: bytes) -> None:
        """Take a candidate's weights; those of a closed round are dropped."""
        if self._is_open(round_number):
            self.candidates[number] = weights

    async def candidate(self, number: int) -> bytes:
        """Weights of a candidate of the open round."""
        return self.candidates[number]

    def _is_open(self, round_number: int) -> bool:
        return self.announcement is not None and self.announcement.round == round_number


class BoardClient:
    """The board as driver and workers use it; travels to the workers as a handle."""

    def __init__(self) -> None:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        actor = ray.remote(Board).options(
            num_cpus=0, scheduling_strategy=here, max_concurrency=4096
        )
        self.actor: Any = actor.remote()

    def open(self, round_number: int, students: list[bytes], margin: NDArray[np.float32]) -> None:
        """Announce a round to the workers."""
        reference = ray.put(margin)
        ray.get(self.actor.open.remote(Announcement(round_number, students, [reference])))

    def close(self) -> None:
        """Close the open round without opening another."""
        ray.get(self.actor.open.remote(None))

    def announced(self, round_number: int) -> Announcement | None:
        """The announcement of a round, None if it is closed."""
        announcement: Announcement | None = ray.get(self.actor.announced.remote(round_number))
        return announcement

    def deposit(self, round_number: int, number: int, weights: bytes) -> None:
        """Leave a trained candidate's weights for the driver."""
        ray.get(self.actor.deposit.remote(round_number, number, weights))

    def candidate(self, number: int) -> bytes:
        """Fetch a candidate's weights."""
        weights: bytes = ray.get(self.actor.candidate.remote(number))
        return weights

    def closing(self, round_number: int) -> RoundClosing:
        """A cheap check whether the round has been closed meanwhile."""
        return RoundClosing(self.actor.closed.remote(round_number))


class RoundClosing:
    """Whether a round has closed; asks Ray's local state only, so it can be called per batch."""

    def __init__(self, reference: Any) -> None:
        self.reference = reference
        self.is_closed = False

    def __call__(self) -> bool:
        """True from the moment on that the round is closed."""
        if not self.is_closed:
            ready, _ = ray.wait([self.reference], timeout=0)
            self.is_closed = bool(ready)
        return self.is_closed
