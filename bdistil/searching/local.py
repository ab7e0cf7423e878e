"""A search in this process alone: one worker, without Ray.

For small data, for estimators that are fitted inside other programs and for studies whose every
cell is a search. It chooses and writes, to the bit, what one worker on Ray would.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from bdistil.core.game import Rules, Summary
from bdistil.core.placement import training_device
from bdistil.interrupt import check
from bdistil.runs.journal import RoundRecord
from bdistil.runs.trial import Cohort, CohortResult
from bdistil.searching.announcement import Announcement
from bdistil.searching.controller import RoundController, Winner
from bdistil.searching.ledger import Ledger
from bdistil.searching.margin_shard import Move, ShardState, combined_sha256, play_shard
from bdistil.searching.problem import Part
from bdistil.searching.progress import SECONDS_BETWEEN_UPDATES, Reporter, Snapshot
from bdistil.searching.resolve import comparison_measure, game_rules
from bdistil.searching.sampling import Sampler
from bdistil.searching.trial_runner import TrialRunner, answered
from bdistil.searching.workbench import Material, Workbench
from bdistil.spec import Spec


class LocalMargin:
    """The margin in this process's memory.

    Args:
        parts: the training split's shards in row order.
        rules: constants of the game.
    """

    def __init__(self, parts: Sequence[Part], rules: Rules) -> None:
        self.parts = parts
        self.rules = rules
        self.states: list[ShardState] = []
        self.summary = Summary.start(sum(map(len, parts)), parts[0].teacher.shape[1])
        self.sha256 = ""

    def play(self, student: bytes) -> None:
        """Take in an accepted student."""
        move = Move(student, self.summary, self.rules)
        states: list[ShardState | None] = [*self.states] or [None] * len(self.parts)
        results = [
            play_shard(part, state, move) for part, state in zip(self.parts, states, strict=True)
        ]
        played = [learnt for _, learnt in results]
        self.states = [state for state, _ in results]
        self.summary = Summary.merged([shard.summary for shard in played])
        self.sha256 = combined_sha256(played)


def prepared(spec: Spec, ledger: Ledger, train: Iterable[Part]) -> tuple[LocalMargin, Workbench]:
    """The margin after a run's accepted students, and a bench for the candidates of the next.

    Args:
        spec: the resolved search.
        ledger: the accepted rounds.
        train: the training split's shards in row order.
    """
    problem, rules = ledger.problem, game_rules(spec, ledger.problem)
    margin = LocalMargin(list(train), rules)
    ledger.replay(margin)
    measure = comparison_measure(spec, problem)
    material = Material(problem, margin.parts, spec, rules, measure)
    return margin, Workbench(material, training_device(spec.workers.gpus))


class InProcessSearch:
    """Runs the rounds that the journal does not hold yet, trial after trial.

    Args:
        spec: the resolved search.
        ledger: the accepted rounds; extended here.
        margin: what they make of the training split; extended here.
        sampler: proposes values for trials.
        runner: trains candidates.
        reporter: shows progress.
        accepted: called after each accepted round.
    """

    def __init__(
        self,
        spec: Spec,
        ledger: Ledger,
        margin: LocalMargin,
        sampler: Sampler,
        runner: TrialRunner,
        reporter: Reporter,
        accepted: Callable[[RoundRecord], None] = lambda record: None,
    ) -> None:
        self.spec = spec
        self.ledger = ledger
        self.margin = margin
        self.runner = runner
        self.reporter = reporter
        self.accepted = accepted
        self.started = self.updated = time.monotonic()
        self.controller = RoundController(
            spec, sampler, self.accept, rounds_done=len(ledger.records)
        )

    def run(self) -> None:
        """Play rounds until T or the time budget.

        Raises:
            SearchError: if too many trials fail.
        """
        self.open_round()
        while not self.controller.finished:
            cohort = self.controller.next_cohort()
            if cohort is None:
                self.controller.poll()  # a grace that nobody is left to use
            else:
                self.controller.answer(self.answer(cohort))

    def open_round(self) -> None:
        """Bring the runner to the next round."""
        self.opened = time.monotonic()
        self.candidates: dict[int, bytes] = {}
        number = len(self.ledger.records) + 1
        blobs, margin = self.ledger.blobs, self.margin
        self.runner.open_round(Announcement(number, blobs, margin.summary, margin.states))

    def answer(self, cohort: Cohort) -> CohortResult:
        """The results of a cohort."""
        run = partial(self.runner.run, cohort, self.should_stop)
        return answered(cohort, run, self.candidates.__setitem__)

    def accept(self, winner: Winner) -> None:
        """Keep a round's winner and open the next round."""
        weights = self.candidates[winner.result.request.number]
        self.margin.play(weights)
        record = self.ledger.accept(
            winner,
            weights,
            margin_sha256=self.margin.sha256,
            seconds=time.monotonic() - self.opened,
            received_bytes={},
        )
        self.reporter.round_accepted(record)
        self.accepted(record)
        if record.round < self.spec.search.rounds:
            self.open_round()

    def should_stop(self) -> bool:
        """Asked before each batch: shows progress now and then, and ends an overdue search."""
        check()
        now = time.monotonic()
        if now - self.updated > SECONDS_BETWEEN_UPDATES:
            self.updated = now
            seconds = now - self.started
            self.reporter.update(Snapshot.of(self.controller, self.ledger.records, seconds))
        budget = self.spec.search.time_budget
        if budget is not None and now - self.started > budget and not self.controller.stopped:
            self.controller.stop()
            self.reporter.message(
                f"Time budget of {budget:g} s reached; resume with more, or with "
                f"search.time_budget=null."
            )
        return self.controller.stopped
