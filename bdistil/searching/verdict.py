"""What a round keeps of its candidates, and why it may keep none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bdistil.names import Fallback
from bdistil.runs.trial import TrialRequest, TrialResult


@dataclass(frozen=True)
class Winner:
    """The student that a round keeps.

    Attributes:
        result: figures of the winning trial; `result.weak` is False if no trial was a weak learner.
        trials: every finished trial of the round, in the order of their numbers.
        stopped: trials that were still running, which lost by that.
    """

    result: TrialResult
    trials: tuple[TrialResult, ...]
    stopped: tuple[TrialRequest, ...] = ()


def best_weak_learner(results: Sequence[TrialResult]) -> TrialResult | None:
    """The weak learner with the least validation loss, None if there is none."""
    weak = [result for result in results if result.weak]
    return min(weak, key=lambda result: result.loss) if weak else None


def choose(results: Sequence[TrialResult], fallback: Fallback) -> TrialResult | None:
    """What a round keeps when every class has been tried.

    Args:
        results: of all trials that finished, at least one.
        fallback: what takes the place of a weak learner (see
            :class:`~bdistil.spec.search.SearchSpec`): the largest gain decides, of candidates that
            help that in the metric.
    """
    weak = best_weak_learner(results)
    if weak is not None or fallback == "none":
        return weak
    if fallback == "best":
        return max(results, key=lambda result: result.gain)
    helpful = [each for each in results if each.helps]
    return max(helpful, key=lambda each: (each.metric_gain, each.gain)) if helpful else None


def explain(results: Sequence[TrialResult], fallback: Fallback) -> str:
    """Why a round ended without a student, and what may help, in words."""
    held = sum(result.edge >= 0 for result in results)
    helped = sum(result.helps for result in results)
    sizes = sorted({result.width for result in results})
    widths = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    found = (
        f"of {len(results)} candidates of widths {widths} the edges of {held} held and {helped} "
        f"made the ensemble better on validation"
    )
    if helped and fallback == "none":
        return f"{found}; search.fallback=helpful keeps those that help without being weak learners"
    return f"{found}; larger classes (space.ladder) or other values may, if there is more to gain"
