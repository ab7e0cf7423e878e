"""What a round keeps of its candidates, and why it may keep none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from bdistil.names import Fallback, Selection
from bdistil.runs.trial import TrialRequest, TrialResult
from bdistil.words import counted


@dataclass(frozen=True)
class Winner:
    """The student that a round keeps.

    Attributes:
        result: figures of the winning trial; `result.weak` is False if no trial was a weak learner
            or one that was none answers clearly better.
        trials: every finished trial of the round, in the order of their numbers.
        stopped: trials that were still running, which lost by that.
        cut: trials that went no further than a milestone.
    """

    result: TrialResult
    trials: tuple[TrialResult, ...]
    stopped: tuple[TrialRequest, ...] = ()
    cut: tuple[TrialResult, ...] = ()


def best_weak_learner(results: Sequence[TrialResult]) -> TrialResult | None:
    """The weak learner with the least validation loss, None if there is none."""
    weak = [result for result in results if result.weak]
    return min(weak, key=lambda result: result.loss) if weak else None


class Answers(Protocol):
    """Whatever has a metric on validation and its standard error, 0 if that is not known."""

    @property
    def metric(self) -> float:
        """On validation."""

    @property
    def metric_error(self) -> float:
        """Of it, 0 if it is not known."""


Candidate = TypeVar("Candidate", bound=Answers)


def clearly_best(results: Sequence[Candidate]) -> list[Candidate]:
    """Those whose answers are within a standard error of the best ones.

    On easy data that is mostly all of them, and the loss tells more; where edges and losses say
    little about answers, as on hard data, the answers decide.
    """
    if not results:
        return []
    best = max(results, key=lambda result: result.metric)
    least = best.metric - best.metric_error
    return [each for each in results if each.metric >= least or not best.metric_error]


def choose(
    results: Sequence[TrialResult], fallback: Fallback, select: Selection = "best"
) -> TrialResult | None:
    """What a round keeps of what has finished, None if nothing is to be kept.

    Args:
        results: of trials that finished, at least one.
        fallback: what takes the place of a weak learner (see
            :class:`~bdistil.spec.search.SearchSpec`).
        select: ``first`` takes a weak learner whatever else there is. With ``best`` and
            ``helpful`` a candidate that is none comes before it if it answers clearly better.
    """
    weak = best_weak_learner(results)
    if fallback == "none" or (weak is not None and (fallback == "best" or select == "first")):
        return weak
    if fallback == "best":
        return max(results, key=lambda result: result.gain)
    helpful = [each for each in results if each.helps or each.weak]
    if not helpful:
        return None
    best = clearly_best(helpful)
    return best_weak_learner(best) or max(best, key=lambda each: (each.metric_gain, each.gain))


def explain(results: Sequence[TrialResult], fallback: Fallback, least_edge: float = 0.0) -> str:
    """Why a round ended without a student, and what may help, in words."""
    held = sum(result.edge >= least_edge for result in results)
    helped = sum(result.helps for result in results)
    sizes = sorted({result.width for result in results})
    widths = f"width {sizes[0]}" if len(sizes) == 1 else f"widths {sizes[0]} to {sizes[-1]}"
    found = (
        f"of {counted(len(results), 'candidate')} of {widths} the edges of {held} held and "
        f"{helped} made the ensemble better on validation"
    )
    if least_edge > 0:
        found += f" (search.min_edge={least_edge:g})"
    if helped and fallback == "none":
        return f"{found}; search.fallback=helpful keeps those that help without being weak learners"
    return f"{found}; larger classes (space.ladder) or other values may, if there is more to gain"
