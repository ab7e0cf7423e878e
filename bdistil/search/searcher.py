"""Tune's searcher: hands the round controller's trials to Tune and their results back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray.tune.search import Searcher

from bdistil.search.controller import RoundController
from bdistil.search.trainable import REQUEST, RESULT
from bdistil.search.trial import TrialRequest, TrialResult


class RoundSearcher(Searcher):
    """Adapter between Tune and a :class:`~bdistil.search.controller.RoundController`.

    An error of the controller (disk full, every trial fails) must not tear down Tune's event loop
    half-way: it is kept in `error`, and the experiment finishes.
    """

    def __init__(self, controller: RoundController) -> None:
        super().__init__()
        self.controller = controller
        self.requests: dict[str, TrialRequest] = {}
        self.error: Exception | None = None

    def suggest(self, trial_id: str) -> Any:
        """The next trial, None while the round waits, FINISHED at the end."""
        if self.controller.finished:
            return self.FINISHED
        request = self.controller.next_trial()
        if request is None:
            return None
        self.requests[trial_id] = request
        return {REQUEST: request.model_dump_json()}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Pass a trial's answer on; a trial that Tune lost counts as failed."""
        request = self.requests.pop(trial_id)
        if result is not None and RESULT in result and not error:
            answer = TrialResult.model_validate_json(result[RESULT])
        else:
            reason = "its worker process died (see Ray's logs)"
            answer = TrialResult(request=request, status="failed", reason=reason)
        self.guarded(lambda: self.controller.answer(answer))

    def poll(self) -> None:
        """Let the controller close a round whose grace is over."""
        self.guarded(self.controller.poll)

    def guarded(self, action: Any) -> None:
        """Run an action of the controller; keep its error and stop the search."""
        if self.error is not None:
            return
        try:
            action()
        except Exception as error:
            self.error = error
            self.controller.stop()

    def save(self, checkpoint_path: str) -> None:
        """Tune wants a file; the search's own state is in the journal."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a resumed search opens a new experiment at the next round."""
