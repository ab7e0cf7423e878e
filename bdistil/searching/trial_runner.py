"""What runs trials, and how the errors of candidates become answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from bdistil.errors import BdistilError
from bdistil.runs.trial import Cohort, CohortResult, TrialResult
from bdistil.searching.announcement import Announcement

Outcome = tuple[TrialResult, bytes | None]


class TrialRunner(Protocol):
    """What a worker runs; a :class:`~bdistil.searching.workbench.Workbench` or a stand-in."""

    def open_round(self, announcement: Announcement) -> None:
        """Take in a new round."""

    def run(self, cohort: Cohort, should_stop: Callable[[], bool]) -> list[Outcome]:
        """Train the candidates: figures, and weights of those that finished."""


def answered(
    cohort: Cohort, run: Callable[[], list[Outcome]], keep: Callable[[int, bytes], object]
) -> CohortResult:
    """The results of a cohort, checked; `keep` is given each candidate's number and weights."""
    outcomes = guarded(cohort, run)
    for result, weights in outcomes:
        if weights is not None:
            keep(result.request.number, weights)
    return CohortResult(results=tuple(result.checked() for result, _ in outcomes))


def guarded(cohort: Cohort, run: Callable[[], list[Outcome]]) -> list[Outcome]:
    """What `run` gives; an error of a candidate is an answer too and keeps the worker."""
    try:
        return run()
    except BdistilError as error:
        reason = str(error)
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return [(result, None) for result in cohort.ended("failed", reason).results]
