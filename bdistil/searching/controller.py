"""The round controller: which trial runs next, which one wins, when a class is exhausted.

A plain object that runs nothing: :class:`~bdistil.searching.loop.SearchLoop` drives it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from bdistil.core.seeds import derived_seed
from bdistil.errors import SearchError
from bdistil.runs.trial import Cohort, TrialRequest, TrialResult
from bdistil.searching.sampling import Sampler
from bdistil.spec import Spec


@dataclass(frozen=True)
class Winner:
    """The student that a round keeps.

    Attributes:
        result: figures of the winning trial; `result.weak` is False if no trial was a weak learner.
        trials: every finished trial of the round, in the order of their numbers.
    """

    result: TrialResult
    trials: tuple[TrialResult, ...]


@dataclass
class OpenRound:
    """Bookkeeping of the round that is being searched."""

    number: int
    handed_out: int = 0
    answered: dict[int, TrialResult] = field(default_factory=dict)
    deadline: float | None = None  # of the grace after the first weak learner

    def finished(self) -> list[TrialResult]:
        """Trials with figures, in the order of their numbers."""
        results = (self.answered[number] for number in sorted(self.answered))
        return [result for result in results if result.status == "finished"]

    @property
    def running(self) -> int:
        """Trials handed out and not yet answered."""
        return self.handed_out - len(self.answered)


class RoundController:
    """Decides over trials and rounds.

    Args:
        spec: the search.
        sampler: proposes values for the dimensions of the space.
        accept: called with each round's winner before the next round opens; must make it durable.
        rounds_done: rounds that the journal already holds.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        spec: Spec,
        sampler: Sampler,
        accept: Callable[[Winner], None],
        *,
        rounds_done: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.spec = spec
        self.sampler = sampler
        self.accept = accept
        self.clock = clock
        self.failures = 0
        self.stopped = False
        self.open = OpenRound(rounds_done + 1)
        sampler.open_round(self.open.number)

    @property
    def finished(self) -> bool:
        """Whether all rounds are played or the search was stopped."""
        return self.stopped or self.open.number > self.spec.search.rounds

    def stop(self) -> None:
        """Hand out no more trials; rounds accepted so far stay."""
        self.stopped = True

    def next_cohort(self) -> Cohort | None:
        """The next trials of the open round; None while their outcome hangs on running ones."""
        first = self._next_request(None)
        if first is None:
            return None
        requests = [first]
        while len(requests) < self.spec.search.cohort:
            member = self._next_request(first)
            if member is None:
                break
            requests.append(member)
        return Cohort(requests=tuple(requests))

    def answer(self, results: Iterable[TrialResult]) -> None:
        """Take the results of a cohort; may close the round.

        Raises:
            SearchError: if more trials failed than `search.max_failures` allows.
        """
        if self.finished:
            return
        for result in results:
            if result.request.round != self.open.number:
                return  # losers of a closed round
            self.open.answered[result.request.number] = result
            self.sampler.tell(result)
            if result.status == "failed":
                self._count_failure(result)
        self._close_if_decided()

    def poll(self) -> None:
        """Close the round if its grace is over; call it now and then."""
        if self.open.deadline is not None and self.clock() >= self.open.deadline:
            self._close()

    def _next_request(self, cohort: TrialRequest | None) -> TrialRequest | None:
        """One more request, of the cohort's rung if there is one; None if none may be made now."""
        if self.finished or self.open.deadline is not None:
            return None
        number = self.open.handed_out
        rung = self._rung(number)
        ahead = rung > (self._rung(len(self.open.answered)) if cohort is None else cohort.rung)
        if number >= self._most_trials() or ahead:
            return None
        shared = None if cohort is None else cohort.params
        self.open.handed_out += 1
        return TrialRequest(
            round=self.open.number,
            number=number,
            rung=rung,
            attempt=number % self.spec.search.tries_per_class,
            params=self.sampler.ask(self.open.number, number, shared),
            seed=derived_seed(self.spec.seed, "trial", self.open.number, number),
        )

    def _close_if_decided(self) -> None:
        search = self.spec.search
        weak = any(result.weak for result in self.open.finished())
        if weak and search.select == "first" and self.open.deadline is None:
            self.open.deadline = self.clock() + search.grace
        class_done = len(self.open.answered) % search.tries_per_class == 0
        exhausted = len(self.open.answered) >= self._most_trials()
        enough = weak and (class_done or self.open.deadline is not None)
        if self.open.running == 0 and (exhausted or enough):
            self._close()
        self.poll()

    def _close(self) -> None:
        finished = self.open.finished()
        if not finished:
            reason = next((r.reason for r in self.open.answered.values() if r.reason), "unknown")
            raise SearchError(f"every trial of round {self.open.number} failed: {reason}")
        self.accept(Winner(best_of(finished), tuple(finished)))
        self.open = OpenRound(self.open.number + 1)
        if not self.finished:
            self.sampler.open_round(self.open.number)

    def _rung(self, number: int) -> int:
        return number // self.spec.search.tries_per_class

    def _most_trials(self) -> int:
        search = self.spec.search
        return min(search.trials_per_round, search.tries_per_class * len(self.spec.space.ladder))

    def _count_failure(self, result: TrialResult) -> None:
        self.failures += 1
        if self.failures > self.spec.search.max_failures:
            raise SearchError(
                f"{self.failures} trials failed, more than search.max_failures="
                f"{self.spec.search.max_failures}; the last one: {result.reason}"
            )


def best_of(results: list[TrialResult]) -> TrialResult:
    """The weak learner with the least validation loss.

    Without any weak learner: the largest gain among those whose edges hold, else the best relative
    edge. Stopping instead would lose most accuracy.
    """
    weak = [result for result in results if result.weak]
    if weak:
        return min(weak, key=lambda result: result.loss)
    held = [result for result in results if result.edge >= 0]
    if held:
        return max(held, key=lambda result: result.gain)
    return max(results, key=lambda result: result.relative_edge)
