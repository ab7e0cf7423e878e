"""A backend in virtual time: how long a search would take, and how busy its workers would be.

Nothing is trained. What a trial takes and how it ends is the caller's to say, so that plans can be
compared (``workers.count`` of 8 or of 64?) and the controller tested in milliseconds.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from bdistil.core.student import Student
from bdistil.data.dataset import Dataset
from bdistil.errors import SearchError
from bdistil.runs.journal import EndRecord
from bdistil.runs.trial import Cohort, TrialAnswer, TrialRequest, TrialResult
from bdistil.searching.backend import Played, ShouldStop, Work
from bdistil.searching.controller import RoundController
from bdistil.searching.loop import drive
from bdistil.searching.sampling import Sampler
from bdistil.searching.verdict import Winner
from bdistil.spec import Spec
from bdistil.teachers.source import Teacher


@dataclass(frozen=True)
class SimulatedTrial:
    """How a trial goes.

    Attributes:
        seconds: that it takes; a cohort takes those of its slowest.
        answer: how it ends.
    """

    seconds: float
    answer: TrialAnswer


Plan = Callable[[TrialRequest], SimulatedTrial]


@dataclass(order=True)
class Running:
    """A cohort on a virtual worker, ordered by its end."""

    end: float
    order: int
    start: float = field(compare=False)
    results: list[TrialResult] = field(compare=False)


class SimulatedBackend:
    """Workers that take virtual time for a trial and drop it the moment that its round closes.

    Args:
        workers: how many run at the same time.
        plan: says how each trial goes.

    Attributes:
        busy: seconds that all workers together have spent on trials, those of losers included.
        requests: every trial handed out, in order.
    """

    def __init__(self, workers: int, plan: Plan) -> None:
        self.workers = workers
        self.plan = plan
        self.clock = 0.0
        self.busy = 0.0
        self.running: list[Running] = []
        self.requests: list[TrialRequest] = []

    @property
    def idle(self) -> int:
        """Workers without a trial."""
        return self.workers - len(self.running)

    @property
    def utilisation(self) -> float:
        """Share of the workers' time so far that went into trials."""
        return self.busy / (self.workers * self.clock) if self.clock else 0.0

    def check(self, spec: Spec) -> None:
        """Everything can be simulated."""

    def open(self, spec: Spec) -> None:
        """Nothing to get hold of."""

    def fit_folds(self, dataset: Dataset, *_: Any) -> Iterator[Any]:
        """Folds have no answers here.

        Raises:
            SearchError: always.
        """
        raise SearchError("a simulated backend fits no folds; set teacher.crossfit=0.")

    def fit_teacher(self, *_: Any) -> AbstractContextManager[Teacher]:
        """Nor is there a teacher.

        Raises:
            SearchError: always.
        """
        raise SearchError("a simulated backend trains no teacher.")

    def start(self, work: Work) -> None:
        """Nothing to take in."""

    def open_round(self, number: int) -> None:
        """A round begins."""

    def submit(self, cohort: Cohort) -> None:
        """Give a cohort to an idle worker."""
        self.requests.extend(cohort.requests)
        trials = [self.plan(request) for request in cohort.requests]
        end = self.clock + max(trial.seconds for trial in trials)
        results = cohort.answered(trial.answer for trial in trials)
        heapq.heappush(self.running, Running(end, len(self.requests), self.clock, results))

    def recall(self, results: Sequence[TrialResult]) -> None:
        """Nothing is compared here: the plan says who is cut."""

    def wait(self, until: float | None, should_stop: ShouldStop) -> list[TrialResult]:
        """Let time go by until the next trial ends.

        Raises:
            SearchError: if there is nothing to wait for.
        """
        if until is not None and (not self.running or until <= self.running[0].end):
            self.clock = max(self.clock, until)
            return []
        if not self.running:
            raise SearchError("the search waits although nothing is running.")
        ended = heapq.heappop(self.running)
        self.clock = ended.end
        self.busy += ended.end - ended.start
        return ended.results

    def candidate(self, number: int) -> bytes:
        """Nothing was trained, so there are no weights."""
        return b""

    def close_round(self) -> None:
        """Drop what is running."""
        self.busy += sum(self.clock - each.start for each in self.running)
        self.running = []

    def play(self, student: Student, weights: bytes) -> Played:
        """There is no margin."""
        return Played("")

    def now(self) -> float:
        """Virtual seconds."""
        return self.clock

    def close(self) -> None:
        """Nothing to let go of."""


def simulate(
    spec: Spec, sampler: Sampler, backend: SimulatedBackend
) -> tuple[list[Winner], EndRecord | None]:
    """The winners of a whole search, and why it ended if that was before its last round.

    `backend` then knows its time and utilisation.

    Args:
        spec: the search; its data and teacher are not looked at.
        sampler: proposes values for trials.
        backend: says how trials go.

    Raises:
        SearchError: if too many trials fail.
    """
    winners: list[Winner] = []

    def accept(winner: Winner) -> None:
        backend.close_round()
        winners.append(winner)

    controller = RoundController(spec, sampler, accept, clock=backend.now)
    drive(controller, backend, lambda: False)
    return winners, controller.ended
