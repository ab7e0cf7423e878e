"""Tune's searcher: a trial for every worker that Tune can hold, and word of what became of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher

from bdistil.cluster.trainable import RESULT, Report


@dataclass(frozen=True)
class Idle:
    """There is room for one more worker, or one has come free."""


@dataclass(frozen=True)
class Finished:
    """A Tune trial has ended by itself; without a report it took no cohort."""

    trial_id: str
    report: Report | None


@dataclass(frozen=True)
class Lost:
    """A Tune trial has lost its worker."""

    trial_id: str
    reason: str


Event = Idle | Finished | Lost | BaseException
"""What the search's thread hears of Tune's; an exception is the end of that thread."""


class WorkerSearcher(Searcher):
    """Lets Tune keep workers; which cohort one runs is bound late, by the board.

    Args:
        tell: takes the events; called in Tune's thread.

    Attributes:
        over: whether the search has ended, so that no more workers are wanted.
    """

    def __init__(self, tell: Callable[[Event], None]) -> None:
        super().__init__()
        self.tell = tell
        self.over = False

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles us into a file that nobody reads; the journal is what resumes."""
        return {}

    def suggest(self, trial_id: str) -> Any:
        """A trial for one more worker, FINISHED at the end."""
        if self.over:
            return self.FINISHED
        self.tell(Idle())
        return {}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Pass a trial's report on; of lost workers a callback hears, with the reason."""
        if not error:
            found = (result or {}).get(RESULT)
            report = None if found is None else Report.model_validate_json(found)
            self.tell(Finished(trial_id, report))

    def save(self, checkpoint_path: str) -> None:
        """Tune wants a file; the search's own state is in the journal."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a resumed search opens a new experiment at the next round."""
