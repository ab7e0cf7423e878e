"""Tune's searcher: the round controller's requests go out through the board, results come back."""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path
from typing import Any

from ray.exceptions import RayError
from ray.tune.search import Searcher

from bdistil.cluster.board import BoardClient
from bdistil.cluster.trainable import RESULT
from bdistil.errors import SearchError
from bdistil.runs.trial import Cohort, CohortResult
from bdistil.searching.controller import RoundController

RERUNS = 2  # of a cohort whose worker was lost


class RoundSearcher(Searcher):
    """Adapter between Tune and a :class:`~bdistil.searching.controller.RoundController`.

    Tune gets a trial for every worker it can hold; which request it runs is bound late, by the
    board. Requests are made as workers come free, so that with one worker each is sampled after
    the answer to the one before.

    A trial whose worker is lost, with its node or alone, runs again elsewhere with the same values
    and seed: it is the cluster that failed. Only one that costs a third worker counts as failed.

    An error of the controller (disk full, every trial fails) must not tear down Tune's event loop
    half-way: it is kept in `error`, and the experiment finishes.
    """

    def __init__(self, controller: RoundController, board: BoardClient) -> None:
        super().__init__()
        self.controller = controller
        self.board = board
        self.idle = 0  # Tune trials for which no request is made yet
        self.losses: Counter[tuple[int, int]] = Counter()  # workers that a cohort has cost
        self.stillborn = 0  # workers lost in a row without a cohort
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
        """Pass a trial's answer on; of a lost worker, `lost` hears from Tune with the reason."""
        if not error:
            self.guarded(lambda: self.completed(trial_id, result or {}))

    def completed(self, trial_id: str, result: dict[str, Any]) -> None:
        """A Tune trial has ended by itself, with an answer unless the search is over."""
        self.board.forget(trial_id)
        if RESULT in result:
            self.answered(CohortResult.model_validate_json(result[RESULT]))
        else:
            self.idle -= 1

    def lost(self, trial_id: str, reason: str) -> None:
        """A Tune trial has lost its worker; what that was training goes to another one."""
        self.guarded(lambda: self.replace(self.board.taken_by(trial_id), reason))

    def replace(self, cohort: Cohort | None, reason: str) -> None:
        """Queue a lost worker's cohort again.

        Raises:
            SearchError: if worker after worker ends before it takes a cohort.
        """
        if cohort is None:
            self.idle -= 1
            self.count_stillborn(reason)
            return
        place = cohort.round, cohort.requests[0].number
        self.losses[place] += 1
        if self.losses[place] > RERUNS:
            self.answered(cohort.ended("failed", f"it cost {RERUNS + 1} workers: {reason}"))
        elif cohort.round == self.controller.open.number:
            self.board.push(cohort)
            self.idle -= 1

    def count_stillborn(self, reason: str) -> None:
        """Some workers may fail to start or be lost while they wait, but not all of them.

        Raises:
            SearchError: if so many in a row did that no other is to be expected.
        """
        spec, self.stillborn = self.controller.spec, self.stillborn + 1
        if self.stillborn > spec.search.max_failures + spec.workers.count:
            raise SearchError(
                f"{self.stillborn} workers in a row ended before their first trial: {reason}"
            )

    def answered(self, answer: CohortResult) -> None:
        """A cohort's results go to the controller."""
        self.stillborn = 0
        self.controller.answer(answer)
        self.stock()

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
        with contextlib.suppress(RayError):  # the board itself may be what is lost
            self.board.end()

    def save(self, checkpoint_path: str) -> None:
        """Tune wants a file; the search's own state is in the journal."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a resumed search opens a new experiment at the next round."""
