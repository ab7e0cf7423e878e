"""The Tune trainable: a persistent worker that runs one trial after another."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from ray import tune

from bdistil.cluster.board import BoardClient
from bdistil.runs.trial import FIGURES, Cohort, CohortResult, TrialResult
from bdistil.searching.trial_runner import Outcome, TrialRunner, answered

RESULT = "result"


class TrialWorker(tune.Trainable):
    """One worker; Tune resets it from trial to trial, so data and caches stay where they are.

    A trial is one cohort of the board and a single Tune result. A loser learns from the board
    within one batch that its round is closed, so stopping it needs no round trip through Tune's
    event loop.
    """

    def setup(
        self,
        config: dict[str, Any],
        board: BoardClient | None = None,
        make_runner: Callable[[Any], TrialRunner] | None = None,
        material: Any = None,
        threads: int = 1,
    ) -> None:
        """Build the runner once.

        Args:
            config: of the first trial.
            board: where rounds are announced.
            make_runner: builds the runner from `material`.
            material: large constant objects, shared through the object store.
            threads: of torch in this process.
        """
        assert board is not None
        assert make_runner is not None
        torch.set_num_threads(threads)
        self.board = board
        self.runner = make_runner(material)
        self.opened = 0

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Keep everything; the request comes from the board."""
        return True

    def step(self) -> dict[str, Any]:
        """Take a cohort and run it; without one the search is over."""
        cohort = self.board.take(self.trial_id)
        if cohort is None:
            return {"done": True}
        answer = self.answer(cohort)
        shown = metrics(max(answer.results, key=lambda result: result.gain))
        return {"done": True, RESULT: answer.model_dump_json(), **shown}

    def answer(self, cohort: Cohort) -> CohortResult:
        """The results of a cohort."""
        keep = partial(self.board.deposit, cohort.round)
        return answered(cohort, partial(self.trained, cohort), keep)

    def trained(self, cohort: Cohort) -> list[Outcome]:
        """The candidates' figures and weights; all are stopped if their round is over already."""
        if not self.join_round(cohort.round):
            return [(result, None) for result in cohort.ended("stopped").results]
        return self.runner.run(cohort, self.board.closing(cohort.round))

    def join_round(self, number: int) -> bool:
        """Bring the runner to the open round; False if that is already another one."""
        if self.opened != number:
            announcement = self.board.announced(number)
            if announcement is None:
                return False
            self.runner.open_round(announcement)
            self.opened = number
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: accepted students are in the journal, losers leave nothing behind."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing to load."""


def metrics(answer: TrialResult) -> dict[str, float]:
    """A result as plain numbers, for Tune's loggers; without figures if the trial has none."""
    place: dict[str, float] = {"round": answer.request.round, "number": answer.request.number}
    if answer.status != "finished":
        return place
    return place | {name: getattr(answer, name) for name in FIGURES}
