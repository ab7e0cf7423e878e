"""The backend of this process: one trial after another, without Ray.

For small data, for estimators that are fitted inside other programs and for studies whose every
cell is a search. It chooses and writes, to the bit, what one worker on Ray would.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

from bdistil.core.game import Rules, Summary
from bdistil.core.placement import training_device
from bdistil.core.student import Student
from bdistil.runs.trial import Cohort, TrialResult
from bdistil.searching.announcement import Announcement
from bdistil.searching.backend import SECONDS_BETWEEN_LOOKS, Played, ShouldStop, Work
from bdistil.searching.checkpointing import Saves
from bdistil.searching.margin_shard import ShardState, combined_sha256, game_figures, play_shard
from bdistil.searching.problem import Part
from bdistil.searching.pruning import RoundPruner
from bdistil.searching.trial_runner import TrialRunner, run_guarded
from bdistil.searching.workbench import Material, Workbench
from bdistil.spec import Spec
from bdistil.teachers.obtain import InThisProcess


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
        self.rounds = 0
        self.summary = Summary.start(sum(map(len, parts)), parts[0].teacher_logits.shape[1])

    def play(self, student: Student) -> Played:
        """Take in an accepted student; the hash of the new margin, and the game after it."""
        states: list[ShardState | None] = [*self.states] or [None] * len(self.parts)
        results = [
            play_shard(part, state, student, self.summary, self.rules)
            for part, state in zip(self.parts, states, strict=True)
        ]
        self.states = [state for state, _ in results]
        learnt = [shard for _, shard in results]
        self.summary = Summary.merged([shard.summary for shard in learnt])
        self.rounds += 1
        game = game_figures(self.summary, self.rules, self.rounds)
        return Played(combined_sha256(learnt), game=game)


def make_workbench(material: Material) -> Workbench:
    """The bench of this process, on its GPU if workers have one."""
    return Workbench(material, training_device(material.spec.workers.gpus))


class LocalBackend(InThisProcess):
    """Trains teachers and runs trials in the calling thread.

    Args:
        make_runner: builds what runs them.
    """

    def __init__(self, make_runner: Callable[[Material], TrialRunner] = make_workbench) -> None:
        self.make_runner = make_runner
        self.queued: list[Cohort] = []

    @property
    def idle(self) -> int:
        """1 before a cohort is submitted, 0 until it has run."""
        return 1 - len(self.queued)

    def check(self, spec: Spec) -> None:
        """Everything can be run here."""

    def open(self, spec: Spec) -> None:
        """Nothing to get hold of."""

    def start(self, work: Work) -> None:
        """Build the margin and the runner."""
        self.margin = LocalMargin(list(work.train), work.rules)
        self.accepted: list[Student] = []
        self.pruner = work.spec.search.pruner
        self.checkpoints = work.checkpoints
        self.runner = self.make_runner(
            Material(
                work.problem,
                self.margin.parts,
                work.spec,
                work.rules,
                work.measure,
                work.limits,
            )
        )

    def open_round(self, number: int) -> None:
        """Bring the runner to a round."""
        self.candidates: dict[int, bytes] = {}
        news, self.accepted = self.accepted, []
        self.cuts = None if self.pruner is None else RoundPruner(self.pruner, number)
        self.runner.open_round(
            Announcement(number, news, self.margin.summary, self.margin.states, self.cuts)
        )

    def submit(self, cohort: Cohort) -> None:
        """Keep a cohort for :meth:`wait`."""
        self.queued.append(cohort)

    def recall(self, results: Sequence[TrialResult]) -> None:
        """Let a cohort of an earlier start count at the milestones."""
        if self.cuts is not None:
            self.cuts.recall(results)

    def wait(self, until: float | None, should_stop: ShouldStop) -> list[TrialResult]:
        """Run what was submitted; if nothing was, let some time go by."""
        if not self.queued:
            left = SECONDS_BETWEEN_LOOKS if until is None else until - self.now()
            time.sleep(max(0.0, min(left, SECONDS_BETWEEN_LOOKS)))
            return []
        [cohort] = self.queued
        saves = Saves(self.checkpoints.earlier(cohort), partial(self.checkpoints.keep, cohort))
        run = partial(self.runner.run, cohort, should_stop, saves)
        answers = run_guarded(cohort, run, self.candidates.__setitem__)
        self.queued = []
        return cohort.answered(answers)

    def candidate(self, number: int) -> bytes:
        """The weights of a candidate of the open round."""
        return self.candidates[number]

    def close_round(self) -> None:
        """Drop what is not run yet."""
        self.queued = []

    def play(self, student: Student, weights: bytes) -> Played:
        """Take an accepted student into the margin."""
        self.accepted.append(student)
        return self.margin.play(student)

    def now(self) -> float:
        """Seconds of this machine's clock."""
        return time.monotonic()

    def close(self) -> None:
        """Nothing to let go of."""
        self.queued = []
