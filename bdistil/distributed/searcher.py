"""Tune's searcher: the round controller's requests go out through the board, results come back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray.tune.search import Searcher

from bdistil.distributed.broadcast import BoardClient
from bdistil.distributed.controller import RoundController
from bdistil.distributed.trainable import RESULT
from bdistil.distributed.trial import CohortResult


class RoundSearcher(Searcher):
    """Adapter between Tune and a :class:`~bdistil.distributed.controller.RoundController`.

    Tune gets a trial for every worker it can hold; which request it runs is bound late, by the
    board. Requests are made as workers come free, so that with one worker each is sampled after
    the answer to the one before.

    An error of the controller (disk full, every trial fails) must not tear down Tune's event loop
    half-way: it is kept in `error`, and the experiment finishes.
    """

    def __init__(self, controller: RoundController, board: BoardClient) -> None:
        super().__init__()
        self.controller = controller
        self.board = board
        self.idle = 0  # Tune trials for which no request is made yet
        self.error: Exception | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles us into a file that nobody reads; the journal is what resumes."""
        return {}

    def suggest(self, trial_id: str) -> Any:
        """A trial for one more worker, FINISHED at the end."""
        if self.controller.finished:
            return self.FINISHED
        self.idle += 1
        self.guarded(self.stock)
        return {}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Pass a trial's answer on; a request that Tune lost counts as failed."""
        cohort = self.board.taken_by(trial_id)
        if cohort is None:
            self.idle -= 1
            return
        if result is not None and RESULT in result and not error:
            answer = CohortResult.model_validate_json(result[RESULT])
        else:
            reason = "its worker process died (--verbose shows Ray's messages)"
            answer = cohort.ended("failed", reason)
        self.guarded(lambda: self.controller.answer(answer))
        self.guarded(self.stock)

    def stock(self) -> None:
        """Queue a cohort for each idle worker, as far as the open round has any."""
        while self.idle > 0 and (cohort := self.controller.next_cohort()) is not None:
            self.board.push(cohort)
            self.idle -= 1

    def dropped(self, cohorts: int) -> None:
        """Queued cohorts went with their round; their workers are idle again."""
        self.idle += cohorts

    def poll(self) -> None:
        """Let the controller close a round whose grace is over."""
        self.guarded(self.controller.poll)
        self.guarded(self.stock)

    def guarded(self, action: Any) -> None:
        """Run an action of the controller; keep its error and stop the search."""
        if self.error is not None:
            return
        try:
            action()
        except Exception as error:
            self.error = error
            self.stop()

    def stop(self) -> None:
        """End the search: no more requests, and every worker goes home."""
        self.controller.stop()
        self.board.end()

    def save(self, checkpoint_path: str) -> None:
        """Tune wants a file; the search's own state is in the journal."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a resumed search opens a new experiment at the next round."""
