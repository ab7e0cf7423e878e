"""The Tune trainable: a persistent worker that runs one trial after another."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from pydantic import BaseModel
from ray import tune
from ray.exceptions import RayError

from bdistil.cluster.board import BoardClient
from bdistil.runs.checkpoint import Checkpoint
from bdistil.runs.trial import FIGURES, Cohort, Place, TrialAnswer, TrialRequest
from bdistil.searching.checkpointing import Saves
from bdistil.searching.trial_runner import Outcome, TrialRunner, run_guarded

RESULT = "result"


class Report(BaseModel):
    """A cohort's answers on their way to the driver, which knows the requests.

    Attributes:
        place: of the cohort.
        answers: in the order of its requests.
    """

    place: Place
    answers: list[TrialAnswer]


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
        self.joined = 0  # the last round that the runner took in

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Keep everything; the request comes from the board."""
        return True

    def step(self) -> dict[str, Any]:
        """Take a cohort and run it; without one the search is over."""
        handout = self.board.take(self.trial_id)
        if handout is None:
            return {"done": True}
        cohort, earlier = handout
        report = Report(place=cohort.place, answers=self.answer(cohort, earlier))
        best = max(zip(cohort.requests, report.answers, strict=True), key=lambda pair: pair[1].gain)
        return {"done": True, RESULT: report.model_dump_json(), **metrics(*best)}

    def answer(self, cohort: Cohort, earlier: Checkpoint | None = None) -> list[TrialAnswer]:
        """The answers of a cohort, which may go on where an earlier worker was lost.

        Raises:
            RayError: if the cluster lost what the trial needs, so that it is to run elsewhere.
        """
        keep = partial(self.board.deposit, cohort.round)
        saves = Saves(earlier, self.board.outbox(cohort.place))
        return run_guarded(cohort, partial(self.run_cohort, cohort, saves), keep, (RayError,))

    def run_cohort(self, cohort: Cohort, saves: Saves) -> list[Outcome]:
        """The candidates' figures and weights; all are stopped if their round is over already."""
        if not self.join_round(cohort.round):
            return [(answer, None) for answer in cohort.ended("stopped")]
        return self.runner.run(cohort, self.board.closing(cohort.round), saves)

    def join_round(self, number: int) -> bool:
        """Bring the runner to the open round; False if that is already another one."""
        if self.joined != number:
            announcement = self.board.announced(number, self.joined)
            if announcement is None:
                return False
            self.runner.open_round(announcement)
            self.joined = number
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: what a search keeps is written by its driver."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing to load."""


def metrics(request: TrialRequest, answer: TrialAnswer) -> dict[str, float]:
    """A result as plain numbers, for Tune's loggers; without figures if the trial has none."""
    place: dict[str, float] = {"round": request.round, "number": request.number}
    if answer.status != "finished":
        return place
    return place | {name: getattr(answer, name) for name in FIGURES}
