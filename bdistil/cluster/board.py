"""The board: one small actor on the driver's node through which driver and workers talk.

It queues the open round's requests, holds what workers need of the round (references to their
node's copy of the margin, the accepted students), takes the trained candidates' weights, and tells
workers the moment a round closes. Weights of losers go with the round.

Workers take requests from the queue instead of being given one by Tune at their start. So a worker
between two rounds waits here and keeps its data, where Tune would end its process for want of a
trial; and a request never waits for a process that is still starting.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from bdistil.cluster.post import Inbox, Outbox
from bdistil.cluster.stored_margin import StoredMargin
from bdistil.runs.checkpoint import Checkpoint
from bdistil.runs.trial import Cohort, Place, TrialRequest, TrialResult
from bdistil.searching.announcement import Announcement
from bdistil.searching.margin_shard import ShardState
from bdistil.searching.pruning import RoundPruner
from bdistil.spec.search import PrunerSpec

ASK_SECONDS = 0.05


@dataclass(frozen=True)
class StoredAnnouncement(Announcement):
    """An announcement whose shards are references to objects, one copy a node."""

    students: Sequence[bytes]

    def fetch(self) -> list[ShardState]:
        """Every shard's state; the arrays lie in the object store."""
        states: list[ShardState] = ray.get(self.shards)
        return states

    @property
    def size(self) -> int:
        """Bytes that a worker receives with it."""
        summary = self.summary.log_cosh.nbytes + self.summary.log_sinh.nbytes
        return sum(map(len, self.students)) + summary


class Handout(NamedTuple):
    """What a worker runs: a cohort, and where it goes on if it was interrupted."""

    cohort: Cohort
    earlier: Checkpoint | None = None


class Board:
    """State of the open round; runs as an asynchronous actor (see :class:`BoardClient`).

    Args:
        expected: workers that the first request waits for, so that none of them is given up by
            Tune, which prefers a finished worker to one that is still starting.
        patience: seconds to wait for them.
        pruner: `search.pruner`.
    """

    def __init__(
        self, expected: int, patience: float = 30.0, pruner: PrunerSpec | None = None
    ) -> None:
        self.expected = expected
        self.pruner = pruner
        self.cuts: RoundPruner | None = None
        self.patience = patience
        self.seen: set[str] = set()
        self.queue: deque[Handout] = deque()
        self.taken: dict[str, Cohort] = {}
        self.over: set[str] = set()
        self.ended = False
        self.announcement: StoredAnnouncement | None = None
        self.students: list[bytes] = []
        self.copies: dict[str, list[Any]] = {}
        self.sent: Counter[str] = Counter()
        self.candidates: dict[int, bytes] = {}
        self.posted: dict[Place, Checkpoint] = {}
        self.changed = asyncio.Condition()

    async def open(
        self, announcement: StoredAnnouncement | None, copies: dict[str, list[Any]] | None = None
    ) -> int:
        """Open a round and so close the one before; None closes without opening.

        Args:
            announcement: for nodes without a copy of the margin, with the students that are new.
            copies: the shards of each node that has one.

        Returns:
            How many queued cohorts of the old round were dropped.
        """
        async with self.changed:
            dropped = len(self.queue)
            self.queue.clear()
            self.announcement, self.copies = announcement, copies or {}
            self.students += announcement.students if announcement else []
            self.candidates, self.posted = {}, {}
            if announcement is not None and self.pruner is not None:
                self.cuts = RoundPruner(self.pruner, announcement.round)
            self.changed.notify_all()
        return dropped

    async def end(self) -> None:
        """Close the open round and send every worker home."""
        self.ended = True
        await self.open(None)

    async def push(self, cohort: Cohort, earlier: Checkpoint | None = None) -> None:
        """Queue a cohort, maybe one that goes on where a worker was lost."""
        async with self.changed:
            self.queue.append(Handout(cohort, earlier))
            self.changed.notify_all()

    async def take(self, trial_id: str) -> Handout | None:
        """The next cohort, as soon as there is one; None when the search or the trial is over."""
        await self._muster(trial_id)
        async with self.changed:
            await self.changed.wait_for(lambda: self.queue or self._is_over(trial_id))
            if self._is_over(trial_id):
                return None
            handout = self.queue.popleft()
            self.taken[trial_id] = handout.cohort
            return handout

    async def taken_by(self, trial_id: str) -> Place | None:
        """The cohort that an ended trial took, None if it took none; from now on it gets none.

        A worker that was lost while it waited in :meth:`take` still waits there.
        """
        self.over.add(trial_id)
        cohort = self.taken.pop(trial_id, None)
        return None if cohort is None else cohort.place

    async def announced(
        self, round_number: int, node: str, known: int
    ) -> StoredAnnouncement | None:
        """A round as a worker of a node should see it, None if it is not the open one.

        Args:
            round_number: of the round.
            node: of the worker.
            known: the last round that the worker knows, 0 for none.
        """
        if self.announcement is None or self.announcement.round != round_number:
            return None
        students = self.students[max(0, known - 1) :]
        shards = self.copies.get(node, self.announcement.shards)
        announcement = replace(self.announcement, students=students, shards=shards)
        self.sent[node] += announcement.size
        return announcement

    async def take_sent(self) -> dict[str, int]:
        """Bytes announced to each node since this was last asked."""
        sent, self.sent = dict(self.sent), Counter()
        return sent

    async def closed(self, round_number: int) -> bool:
        """Answers as soon as the round is closed."""
        async with self.changed:
            await self.changed.wait_for(lambda: not self._is_open(round_number))
        return True

    async def deposit(self, round_number: int, number: int, weights: bytes) -> None:
        """Take a candidate's weights; those of a closed round are dropped."""
        if self._is_open(round_number):
            self.candidates[number] = weights

    async def post(self, place: Place, checkpoint: Checkpoint) -> None:
        """Take a running cohort's checkpoint, in place of one that nobody has fetched."""
        async with self.changed:
            if self._is_open(place[0]):
                self.posted[place] = checkpoint
                self.changed.notify_all()

    async def next_posted(self) -> tuple[Place, Checkpoint]:
        """A checkpoint, as soon as there is one; it is the driver's from then on."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.posted)
            place = next(iter(self.posted))
            return place, self.posted.pop(place)

    async def cut(
        self, requests: Sequence[TrialRequest], step: int, losses: Sequence[float]
    ) -> list[bool]:
        """Which candidates go no further than a milestone; all, if their round is closed."""
        if self.cuts is None or not self._is_open(requests[0].round):
            return [True] * len(requests)
        return self.cuts(requests, step, losses)

    async def recall(self, results: Sequence[TrialResult]) -> None:
        """Take in a cohort that an earlier start of the search has run in the open round."""
        if self.cuts is not None:
            self.cuts.recall(results)

    async def candidate(self, number: int) -> bytes:
        """Weights of a candidate of the open round."""
        return self.candidates[number]

    def _is_open(self, round_number: int) -> bool:
        return self.announcement is not None and self.announcement.round == round_number

    async def has_workers(self) -> bool:
        """Whether a worker that has come here is not known to be gone."""
        return not self.ended and not self.seen <= self.over

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

    def __init__(self, expected: int = 1, pruner: PrunerSpec | None = None) -> None:
        self.prunes = pruner is not None
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        actor = ray.remote(Board).options(
            num_cpus=0, scheduling_strategy=here, max_concurrency=4096
        )
        self.actor: Any = actor.remote(expected, pruner=pruner)

    def open(self, number: int, students: Sequence[bytes], margin: StoredMargin) -> None:
        """Announce a round, with the students accepted since the last one."""
        shards = margin.shards(margin.home)
        announcement = StoredAnnouncement(number, students, margin.summary, shards)
        ray.get(self.actor.open.remote(announcement, margin.copies))

    def close(self) -> int:
        """Close the open round without opening another; the number of queued cohorts dropped."""
        dropped: int = ray.get(self.actor.open.remote(None))
        return dropped

    def end(self) -> None:
        """Close the open round and send every worker home."""
        ray.get(self.actor.end.remote())

    def remove(self) -> None:
        """End the actor, in a session that may live on."""
        with contextlib.suppress(RayError):
            ray.kill(self.actor)

    def push(self, cohort: Cohort, earlier: Checkpoint | None = None) -> None:
        """Queue a cohort for whichever worker is free first, maybe one that goes on.

        Nobody waits for the board: it takes the driver's calls in their order, and the next one
        that has an answer tells if it is lost.
        """
        self.actor.push.remote(cohort, earlier)

    def take(self, trial_id: str) -> Handout | None:
        """Wait for a cohort; None when the search is over."""
        handout: Handout | None = ray.get(self.actor.take.remote(trial_id))
        return handout

    def taken_by(self, trial_id: str) -> Place | None:
        """The cohort that a lost Tune trial took, None if it took none; asked once a trial."""
        place: Place | None = ray.get(self.actor.taken_by.remote(trial_id))
        return place

    def forget(self, trial_id: str) -> None:
        """A Tune trial has ended by itself."""
        self.actor.taken_by.remote(trial_id)

    def has_workers(self) -> bool:
        """Whether there is a worker that has started and is not known to be gone."""
        some: bool = ray.get(self.actor.has_workers.remote())
        return some

    def announced(self, round_number: int, known: int) -> StoredAnnouncement | None:
        """The announcement of a round to one who knows round `known`; None if it is closed."""
        node = ray.get_runtime_context().get_node_id()
        answer = self.actor.announced.remote(round_number, node, known)
        announcement: StoredAnnouncement | None = ray.get(answer)
        if announcement is None or not self.prunes:
            return announcement
        return replace(announcement, ask=self.cut)

    def cut(
        self, requests: Sequence[TrialRequest], step: int, losses: Sequence[float]
    ) -> list[bool]:
        """Which candidates go no further than a milestone."""
        cut: list[bool] = ray.get(self.actor.cut.remote(requests, step, losses))
        return cut

    def recall(self, results: Sequence[TrialResult]) -> None:
        """Tell of a cohort that an earlier start has run; before what is pushed after it."""
        self.actor.recall.remote(results)

    def take_sent(self) -> dict[str, int]:
        """Bytes announced to the workers of each node since this was last asked."""
        sent: dict[str, int] = ray.get(self.actor.take_sent.remote())
        return sent

    def deposit(self, round_number: int, number: int, weights: bytes) -> None:
        """Leave a trained candidate's weights for the driver."""
        ray.get(self.actor.deposit.remote(round_number, number, weights))

    def candidate(self, number: int) -> bytes:
        """Fetch a candidate's weights."""
        weights: bytes = ray.get(self.actor.candidate.remote(number))
        return weights

    def outbox(self, place: Place) -> Outbox:
        """Where a worker leaves a cohort's checkpoints."""
        return Outbox(self.actor, place)

    def inbox(self) -> Inbox:
        """Where the driver fetches them."""
        return Inbox(self.actor)

    def closing(self, round_number: int) -> RoundClosing:
        """A cheap check whether the round has been closed meanwhile."""
        return RoundClosing(self.actor.closed.remote(round_number))


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
