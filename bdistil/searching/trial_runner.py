"""What runs trials, and how the errors of candidates become answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from bdistil.errors import FOREIGN, BdistilError, told
from bdistil.runs.trial import Cohort, TrialAnswer
from bdistil.searching.announcement import Announcement
from bdistil.searching.checkpointing import Saves

Outcome = tuple[TrialAnswer, bytes | None]
"""A candidate's figures, and its weights if it finished."""


class TrialRunner(Protocol):
    """What a worker runs; a :class:`~bdistil.searching.workbench.Workbench` or a stand-in."""

    def open_round(self, announcement: Announcement) -> None:
        """Take in a new round."""

    def run(self, cohort: Cohort, should_stop: Callable[[], bool], saves: Saves) -> list[Outcome]:
        """Train the candidates, request by request, from the start or where `saves` says."""


def run_guarded(
    cohort: Cohort,
    run: Callable[[], list[Outcome]],
    keep: Callable[[int, bytes], object],
    not_its_fault: tuple[type[Exception], ...] = (),
) -> list[TrialAnswer]:
    """The checked answers of a cohort; an error of a candidate is an answer too.

    Args:
        cohort: what is run.
        run: runs it.
        keep: given the number and the weights of each candidate that finished.
        not_its_fault: errors that are raised on, as no candidate is to blame for them.
    """
    try:
        outcomes = run()
    except not_its_fault:
        raise
    except FOREIGN as error:
        reason = f"{type(error).__name__}: {told(error)}"
        return cohort.ended("failed", str(error) if isinstance(error, BdistilError) else reason)
    for request, (_, weights) in zip(cohort.requests, outcomes, strict=True):
        if weights is not None:
            keep(request.number, weights)
    return [
        answer.checked(request.recipe().remedy)
        for request, (answer, _) in zip(cohort.requests, outcomes, strict=True)
    ]
