"""The board: one small actor on the driver's node through which driver and workers talk.

It queues the open round's requests, holds what workers need of the round (references to the
margin, the accepted students), takes the trained candidates' weights, and tells workers the moment
a round closes. Weights of losers go with the round; nothing of them reaches a disk.

Workers take requests from the queue instead of being given one by Tune at their start. So a worker
between two rounds waits here and keeps its data, where Tune would end its process for want of a
trial; and a request never waits for a process that is still starting.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from bdistil.distributed.trial import TrialRequest


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
    """State of the open round; runs as an asynchronous actor (see :class:`BoardClient`).

    Args:
        expected: workers that the first request waits for, so that none of them is given up by
            Tune, which prefers a finished worker to one that is still starting.
        patience: seconds to wait for them.
    """

    def __init__(self, expected: int, patience: float = 30.0) -> None:
        self.expected = expected
        self.patience = patience
        self.seen: set[str] = set()
        self.queue: deque[TrialRequest] = deque()
        self.taken: dict[str, TrialRequest] = {}
        self.ended = False
        self.announcement: Announcement | None = None
        self.candidates: dict[int, bytes] = {}
        self.changed = asyncio.Condition()

    async def open(self, announcement: Announcement | None) -> int:
        """Open a round and so close the one before; None closes without opening.

        Returns:
            How many queued requests of the old round were dropped.
        """
        async with self.changed:
            dropped = len(self.queue)
            self.queue.clear()
            self.announcement = announcement
            self.candidates = {}
            self.changed.notify_all()
        return dropped

    async def end(self) -> None:
        """Close the open round and send every worker home."""
        self.ended = True
        await self.open(None)

    async def push(self, request: TrialRequest) -> None:
        """Queue a request."""
        async with self.changed:
            self.queue.append(request)
            self.changed.notify_all()

    async def take(self, trial_id: str) -> TrialRequest | None:
        """The next request, as soon as there is one; None when the search is over."""
        await self._muster(trial_id)
        async with self.changed:
            await self.changed.wait_for(lambda: self.queue or self.ended)
            if self.ended:
                return None
            self.taken[trial_id] = self.queue.popleft()
            return self.taken[trial_id]

    async def taken_by(self, trial_id: str) -> TrialRequest | None:
        """The request that a trial took, None if it took none."""
        return self.taken.pop(trial_id, None)

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

    async def _muster(self, trial_id: str) -> None:
        async with self.changed:
            self.seen.add(trial_id)
            self.changed.notify_all()
            with contextlib.suppress(TimeoutError):
                here = self.changed.wait_for(lambda: len(self.seen) >= self.expected or self.ended)
                await asyncio.wait_for(here, self.patience)
            self.expected = 0  # only at the start of a search


class BoardClient:
    """The board as driver and workers use it; travels to the workers as a handle."""

    def __init__(self, expected: int = 1) -> None:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        actor = ray.remote(Board).options(
            num_cpus=0, scheduling_strategy=here, max_concurrency=4096
        )
        self.actor: Any = actor.remote(expected)

    def open(self, round_number: int, students: list[bytes], margin: NDArray[np.float32]) -> int:
        """Announce a round to the workers; the number of requests of the old one dropped."""
        announcement = Announcement(round_number, students, [ray.put(margin)])
        dropped: int = ray.get(self.actor.open.remote(announcement))
        return dropped

    def close(self) -> int:
        """Close the open round without opening another; the number of requests dropped."""
        dropped: int = ray.get(self.actor.open.remote(None))
        return dropped

    def end(self) -> None:
        """Close the open round and send every worker home."""
        ray.get(self.actor.end.remote())

    def push(self, request: TrialRequest) -> None:
        """Queue a request for whichever worker is free first."""
        ray.get(self.actor.push.remote(request))

    def take(self, trial_id: str) -> TrialRequest | None:
        """Wait for a request; None when the search is over."""
        request: TrialRequest | None = ray.get(self.actor.take.remote(trial_id))
        return request

    def taken_by(self, trial_id: str) -> TrialRequest | None:
        """The request that a Tune trial took, None if it took none; asked once a trial."""
        request: TrialRequest | None = ray.get(self.actor.taken_by.remote(trial_id))
        return request

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
