"""The one loop of a search: requests go to the backend, its answers to the controller."""

from __future__ import annotations

from collections.abc import Callable

from bdistil.core.progressive_ensemble import ProgressiveEnsemble
from bdistil.core.student import Student
from bdistil.errors import SearchError
from bdistil.interrupt import check
from bdistil.runs.journal import EndRecord, RoundRecord
from bdistil.searching.backend import SECONDS_BETWEEN_LOOKS, ShouldStop, TrialBackend
from bdistil.searching.controller import RoundController
from bdistil.searching.cost_limits import costs_of
from bdistil.searching.goal import Goal
from bdistil.searching.goal_metric import stage_score
from bdistil.searching.ledger import Ledger
from bdistil.searching.progress import Reporter, Snapshot
from bdistil.searching.sampling import Sampler
from bdistil.searching.stage_plan import costs_of_narrowest
from bdistil.searching.verdict import Winner
from bdistil.spec import Spec

Accepted = Callable[[RoundRecord], None]


def drive(controller: RoundController, backend: TrialBackend, should_stop: ShouldStop) -> None:
    """Hand out trials and take results until the controller has finished.

    Args:
        controller: decides; its round is open at the backend.
        backend: runs trials; a cohort is asked for whenever one of its workers is idle.
        should_stop: see :meth:`~bdistil.searching.backend.Backend.wait`; also asked in between.
    """
    while not controller.finished:
        while backend.idle > 0 and (cohort := controller.next_cohort()) is not None:
            backend.submit(cohort)
        controller.answer(backend.wait(controller.open.deadline, should_stop))
        should_stop()


class SearchLoop:
    """Plays the rounds that the journal does not hold yet.

    Args:
        spec: the resolved search.
        ledger: the accepted rounds; extended here.
        backend: runs trials; its search is started.
        sampler: proposes values for trials.
        reporter: shows progress.
        accepted: called after each accepted round.
        goal: ends the search once it is reached.
    """

    def __init__(
        self,
        spec: Spec,
        ledger: Ledger,
        backend: TrialBackend,
        sampler: Sampler,
        reporter: Reporter,
        accepted: Accepted = lambda record: None,
        goal: Goal | None = None,
    ) -> None:
        self.spec = spec
        self.ledger = ledger
        self.backend = backend
        self.reporter = reporter
        self.accepted = accepted
        self.goal = goal
        self.started = backend.now()
        self.shown = self.started
        self.controller = RoundController(
            spec, sampler, self.accept, rounds_done=len(ledger.records), clock=backend.now
        )

    def run(self) -> None:
        """Play rounds until T, the goal or the time budget, or until nothing helps any more.

        Raises:
            BdistilError: if the search cannot go on; rounds accepted so far stay.
        """
        self.ledger.replay(self.backend.play)
        if self.ledger.records:
            self.look_at_goal(self.ledger.records[-1])
        if not self.controller.finished:
            self.open_round()
            drive(self.controller, self.backend, self.should_stop)
        if self.controller.ended is not None:
            self.end(self.controller.ended)
        self.show()

    def look_at_goal(self, record: RoundRecord) -> None:
        """End the search if nothing more is wanted after a round."""
        if self.goal is None:
            return
        ensemble, shape = self.ledger.ensemble, self.ledger.problem.input_shape
        used, least = costs_of(ensemble, shape), costs_of_narrowest(self.spec, ensemble, shape)
        metric, score, rounds = self.goal.metric, None, self.spec.search.most_rounds
        if metric is not None:
            score = stage_score(ensemble, self.ledger.problem, metric)
            if self.spec.goal is not None and self.spec.goal.metric == metric:  # rounds show theirs
                self.reporter.message(self.goal.told(record.round, score))
        self.controller.ended = self.goal.end(record, used, least, score, rounds)

    def too_dear(self, student: Student) -> str | None:
        """Why the winner costs too much for the goal; None if it does not."""
        if self.goal is None:
            return None
        ensemble, shape = self.ledger.ensemble, self.ledger.problem.input_shape
        grown = ProgressiveEnsemble(ensemble.outputs, [*ensemble, student])
        return self.goal.above_limits(len(grown), costs_of(grown, shape)) or self.goal.too_slow(
            grown
        )

    def end(self, ended: EndRecord) -> None:
        """Write down why no further round is played.

        Raises:
            SearchError: if not even the first round has a student.
        """
        if not self.ledger.records:
            raise SearchError(f"round 1 ended without a student: {ended.reason}.")
        self.ledger.close(ended)
        self.reporter.message(f"Ended after round {len(self.ledger.records)}: {ended.reason}.")

    def open_round(self) -> None:
        """Begin the next round."""
        self.opened = self.backend.now()
        self.backend.open_round(len(self.ledger.records) + 1)

    def accept(self, winner: Winner) -> None:
        """Keep a round's winner and open the next round, or end where it costs too much."""
        weights = self.backend.candidate(winner.result.request.number)
        self.backend.close_round()
        student = self.ledger.student(weights, "the winner")
        if reason := self.too_dear(student):
            trials, cut = winner.trials, winner.cut
            self.controller.ended = EndRecord(end="cost", reason=reason, trials=trials, cut=cut)
            return
        played = self.backend.play(student, weights)
        seconds = self.backend.now() - self.opened
        record = self.ledger.accept(winner, student, weights, played, seconds)
        self.reporter.round_accepted(record)
        self.accepted(record)
        self.look_at_goal(record)
        if self.controller.ended is None and record.round < self.spec.search.most_rounds:
            self.open_round()

    def should_stop(self) -> bool:
        """Look at signals, display and clock; whether running trials are in vain."""
        check()
        now, budget = self.backend.now(), self.spec.search.time_budget
        if now - self.shown > SECONDS_BETWEEN_LOOKS:
            self.show()
            if not self.ledger.directory.is_there:  # nothing would be kept; whoever writes tells
                self.controller.stop()
        if budget is not None and now - self.started > budget and not self.controller.finished:
            self.controller.stop()
            self.reporter.message(
                f"Time budget of {budget:g} s reached; resume with more, or with "
                f"search.time_budget=null."
            )
        return self.controller.stopped

    def show(self) -> None:
        """The state of the search, for people."""
        self.shown = self.backend.now()
        seconds = self.shown - self.started
        self.reporter.update(Snapshot.of(self.controller, self.ledger.records, seconds))
