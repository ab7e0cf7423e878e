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
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from bdistil.core.connections import Hidden
from bdistil.core.training_split import TrainingSplit
from bdistil.distributed.trial import Cohort

ASK_SECONDS = 0.05

HiddenArrays = tuple[NDArray[np.float32], NDArray[np.float32] | None]


@dataclass(frozen=True)
class ShardState:
    """The game on one shard of the training split, as numpy.

    Attributes:
        margin: M, float32 (n, L).
        earlier: features and memory of each accepted student on these rows.
    """

    margin: NDArray[np.float32]
    earlier: list[HiddenArrays]


@dataclass(frozen=True)
class Announcement:
    """What the workers need of a round.

    Attributes:
        round: t, counted from 1.
        students: safetensors of the accepted students, first to last.
        rows: N.
        log_cosh: summary of the margin (see :class:`~bdistil.core.game.Summary`).
        log_sinh: likewise.
        margins: object reference to each shard's margin, in row order.
        earlier: for each student, an object reference to each shard's hidden state.
    """

    round: int
    students: list[bytes]
    rows: int
    log_cosh: NDArray[np.float32]
    log_sinh: NDArray[np.float32]
    margins: list[Any]
    earlier: list[list[Any]]

    def fetch(self) -> list[ShardState]:
        """Every shard's state; the arrays lie in the object store, one copy a node."""
        margins = ray.get(self.margins)
        hidden = [ray.get(references) for references in self.earlier]
        return [
            ShardState(margin, [states[index] for states in hidden])
            for index, margin in enumerate(margins)
        ]


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
        self.queue: deque[Cohort] = deque()
        self.taken: dict[str, Cohort] = {}
        self.over: set[str] = set()
        self.ended = False
        self.announcement: Announcement | None = None
        self.candidates: dict[int, bytes] = {}
        self.changed = asyncio.Condition()

    async def open(self, announcement: Announcement | None) -> int:
        """Open a round and so close the one before; None closes without opening.

        Returns:
            How many queued cohorts of the old round were dropped.
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

    async def push(self, cohort: Cohort) -> None:
        """Queue a cohort."""
        async with self.changed:
            self.queue.append(cohort)
            self.changed.notify_all()

    async def take(self, trial_id: str) -> Cohort | None:
        """The next cohort, as soon as there is one; None when the search or the trial is over."""
        await self._muster(trial_id)
        async with self.changed:
            await self.changed.wait_for(lambda: self.queue or self._is_over(trial_id))
            if self._is_over(trial_id):
                return None
            self.taken[trial_id] = self.queue.popleft()
            return self.taken[trial_id]

    async def taken_by(self, trial_id: str) -> Cohort | None:
        """The cohort that an ended trial took, None if it took none; from now on it gets none.

        A worker that was lost while it waited in :meth:`take` still waits there.
        """
        self.over.add(trial_id)
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

    def _is_over(self, trial_id: str) -> bool:
        return self.ended or trial_id in self.over

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
        self.earlier: list[list[Any]] = []  # references stay alive as long as the search

    def open(self, students: list[bytes], split: TrainingSplit) -> int:
        """Announce the round after `students`; the number of cohorts of the old one dropped."""
        for stage in range(len(self.earlier), split.stage - 1):
            states = [shard.earlier[stage] for shard in split.shards]
            self.earlier.append([ray.put(hidden_arrays(state)) for state in states])
        summary = split.shards[0].game.summary
        announcement = Announcement(
            round=split.stage,
            students=students,
            rows=summary.rows,
            log_cosh=summary.log_cosh.numpy(),
            log_sinh=summary.log_sinh.numpy(),
            margins=[ray.put(shard.game.margin.numpy()) for shard in split.shards],
            earlier=self.earlier,
        )
        dropped: int = ray.get(self.actor.open.remote(announcement))
        return dropped

    def close(self) -> int:
        """Close the open round without opening another; the number of cohorts dropped."""
        dropped: int = ray.get(self.actor.open.remote(None))
        return dropped

    def end(self) -> None:
        """Close the open round and send every worker home."""
        ray.get(self.actor.end.remote())

    def push(self, cohort: Cohort) -> None:
        """Queue a cohort for whichever worker is free first."""
        ray.get(self.actor.push.remote(cohort))

    def take(self, trial_id: str) -> Cohort | None:
        """Wait for a cohort; None when the search is over."""
        cohort: Cohort | None = ray.get(self.actor.take.remote(trial_id))
        return cohort

    def taken_by(self, trial_id: str) -> Cohort | None:
        """The cohort that a Tune trial took, None if it took none; asked once a trial."""
        cohort: Cohort | None = ray.get(self.actor.taken_by.remote(trial_id))
        return cohort

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


def hidden_arrays(state: Hidden) -> HiddenArrays:
    """A hidden state as numpy."""
    return state.features.numpy(), None if state.memory is None else state.memory.numpy()


class RoundClosing:
    """Whether a round has closed; cheap enough to be asked before every batch.

    It asks Ray's local state only, and not more often than every :data:`ASK_SECONDS`.
    """

    def __init__(self, reference: Any) -> None:
        self.reference = reference
        self.is_closed = False
        self.asked = 0.0

    def __call__(self) -> bool:
        """True from the moment on that the round is closed."""
        if not self.is_closed and time.monotonic() - self.asked > ASK_SECONDS:
            self.asked = time.monotonic()
            ready, _ = ray.wait([self.reference], timeout=0)
            self.is_closed = bool(ready)
        return self.is_closed
