"""The round controller: which trial runs next, which one wins, when a class is exhausted.

A plain object that runs nothing: :class:`~bdistil.searching.loop.SearchLoop` drives it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from bdistil.core.seeds import derived_seed
from bdistil.errors import SearchError
from bdistil.runs.journal import EndRecord
from bdistil.runs.trial import Cohort, TrialRequest, TrialResult
from bdistil.searching.sampling import Sampler
from bdistil.searching.verdict import Winner, best_weak_learner, choose, explain
from bdistil.spec import Spec
from bdistil.words import counted


@dataclass
class OpenRound:
    """Bookkeeping of the round that is being searched."""

    number: int
    requests: list[TrialRequest] = field(default_factory=list)
    answered: dict[int, TrialResult] = field(default_factory=dict)
    deadline: float | None = None  # of the grace after the first weak learner

    def finished(self, trials: int | None = None) -> list[TrialResult]:
        """Those of the first `trials` (None: all) that have figures, in their order."""
        return [
            result
            for result in self._of("finished")
            if trials is None or result.request.number < trials
        ]

    def cut(self) -> list[TrialResult]:
        """Those that went no further than a milestone, in their order."""
        return self._of("cut")

    def answers_before(self, trials: int) -> int:
        """How many of the first `trials` have answered."""
        return sum(number < trials for number in self.answered)

    def running(self) -> list[TrialRequest]:
        """Trials handed out and not yet answered."""
        return [request for request in self.requests if request.number not in self.answered]

    def _of(self, status: str) -> list[TrialResult]:
        results = (self.answered[number] for number in sorted(self.answered))
        return [result for result in results if result.status == status]


class RoundController:
    """Decides over trials and rounds.

    The classes of the ladder are tried in their order, `search.tries_per_class` trials each. While
    the last trials of a class run and none of it is a weak learner yet, free workers go ahead with
    the next class; what they find counts only once the class before has failed.

    Args:
        spec: the search.
        sampler: proposes values for the dimensions of the space.
        accept: called with each round's winner before the next round opens; must make it durable.
        rounds_done: rounds that the journal already holds.
        clock: seconds, monotonic.

    Attributes:
        ended: why the search is over before its last round; None if it is not. Others may set it.
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
        self.ended: EndRecord | None = None
        self.open = OpenRound(rounds_done + 1)
        sampler.open_round(self.open.number)

    @property
    def finished(self) -> bool:
        """Whether all rounds are played, no more are wanted or the search was stopped."""
        over = self.stopped or self.ended is not None
        return over or self.open.number > self.spec.search.most_rounds

    def stop(self) -> None:
        """Hand out no more trials; rounds accepted so far stay."""
        self.stopped = True

    def next_cohort(self) -> Cohort | None:
        """The next trials of the open round; None while their outcome hangs on running ones."""
        first = self._next_request(None)
        if first is None:
            return None
        requests = [first]
        while len(requests) < self.spec.search.together:
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

    @property
    def most_trials(self) -> int:
        """Trials of a round without a weak learner."""
        return self.spec.search.most_trials(len(self.spec.space.rungs))

    def _next_request(self, cohort: TrialRequest | None) -> TrialRequest | None:
        """One more request, of the cohort's rung if there is one; None if none may be made now."""
        if self.finished or self.open.deadline is not None:
            return None
        number = len(self.open.requests)
        rung = number // self.spec.search.tries
        other_class = cohort is not None and rung != cohort.rung
        if number >= self.most_trials or other_class or not self._may_open(rung):
            return None
        request = TrialRequest(
            round=self.open.number,
            number=number,
            rung=rung,
            attempt=number % self.spec.search.tries,
            params=self.sampler.ask(
                self.open.number, number, None if cohort is None else cohort.params, rung
            ),
            seed=derived_seed(self.spec.seed, "trial", self.open.number, number),
        )
        self.open.requests.append(request)
        return request

    def _may_open(self, rung: int) -> bool:
        """Whether trials of a class may begin: the one before has failed, or is about to."""
        if rung <= self._open_class():
            return True
        nothing_yet = best_weak_learner(self.open.finished(rung * self.spec.search.tries)) is None
        return nothing_yet and rung == self._open_class() + 1

    def _open_class(self) -> int:
        """The first class some of whose trials have not answered."""
        answered = self.open.answered
        return (
            next(n for n in range(self.most_trials + 1) if n not in answered)
            // self.spec.search.tries
        )

    def _close_if_decided(self) -> None:
        """Close the round if its winner can be told, or is known to be missing."""
        for rung in range(-(-self.most_trials // self.spec.search.tries)):
            before, through = (
                rung * self.spec.search.tries,
                min((rung + 1) * self.spec.search.tries, self.most_trials),
            )
            if self.open.answers_before(before) < before:
                return
            class_done = self.open.answers_before(through) == through
            if self._waits_for_class and not class_done:
                return
            if best_weak_learner(self.open.finished(through)) is None:
                if not class_done:
                    return
            elif self._decided(class_done):
                return self._close(self.open.finished(through))
            else:
                return
        self._close(self.open.finished())

    @property
    def _waits_for_class(self) -> bool:
        """Whether the winner is the best of its class.

        In round 1, where every edge is zero, the first to finish would be whichever it is, so the
        best of its class is taken whatever `search.select` says.
        """
        return self.spec.search.select == "best" or self.open.number == 1

    def _decided(self, class_done: bool) -> bool:
        """Whether a class that has a weak learner has to wait no longer."""
        if self._waits_for_class:
            return class_done
        if self.open.deadline is None:
            self.open.deadline = self.clock() + self.spec.search.grace
        return not self.open.running() or self.clock() >= self.open.deadline

    def _close(self, standing: list[TrialResult]) -> None:
        """Keep the best of the candidates that count, or end the search without one."""
        finished, cut = self.open.finished(), tuple(self.open.cut())
        if not finished:
            reason = next((r.reason for r in self.open.answered.values() if r.reason), "unknown")
            others = f" or was cut ({len(cut)})" if cut else ""
            raise SearchError(f"every trial of round {self.open.number} failed{others}: {reason}")
        fallback, select = self.spec.search.fallback, self.spec.search.select
        if self.open.number == 1:
            select = "best"
        kept = choose(standing, fallback, select)
        if kept is None and self.open.number == 1 and fallback == "helpful":
            kept = choose(standing, "best")  # better than no ensemble at all
        if kept is None:
            why = explain(finished, fallback, self.spec.search.least_edge(self.open.number))
            self.ended = EndRecord(end="saturated", reason=why, trials=tuple(finished), cut=cut)
            return
        stopped = tuple(self.open.running())
        self.accept(Winner(kept, tuple(finished), stopped, cut))
        self.open = OpenRound(self.open.number + 1)
        if not self.finished:
            self.sampler.open_round(self.open.number)

    def _count_failure(self, result: TrialResult) -> None:
        self.failures += 1
        if self.failures > self.spec.search.max_failures:
            raise SearchError(
                f"{counted(self.failures, 'trial')} failed, more than search.max_failures="
                f"{self.spec.search.max_failures}; the last one: {result.reason}"
            )
