"""What a search is for: how much of the teacher to keep, at what cost."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, PositiveFloat

from bdistil.names import GoalMetric
from bdistil.spec.section import Section


def _from_percent(value: Any) -> Any:
    if isinstance(value, str) and value.strip().endswith("%"):
        try:
            return float(value.strip()[:-1]) / 100
        except ValueError:
            raise ValueError(f"must be a share such as 0.5 or 50%, not {value!r}") from None
    return value


Share = Annotated[PositiveFloat, BeforeValidator(_from_percent, json_schema_input_type=float | str)]


class GoalSpec(Section):
    """When a search has found enough. Shares are numbers such as 0.5, or `50%`."""

    keep: Share | None = None
    """share of the teacher's metric on validation that is enough"""
    metric: GoalMetric | None = None
    """what `keep` is about: `accuracy`, `balanced_accuracy`, `macro_f1` or `auc`; the task's own if
    left out (accuracy, micro F1, R²)
    """
    within: Share | None = None
    """share of the teacher's FLOPs that the last stage may cost"""
    within_time: Share | None = None
    """share of the teacher's time that the last stage may take: one example, one thread, by torch,
    on this machine. `within` follows from it if it is left out
    """

    def as_decided_in(self, stored: GoalSpec) -> GoalSpec:
        """With the FLOPs that a limit of time stood for when the run began."""
        if self.within is not None or self.within_time != stored.within_time:
            return self
        return self.model_copy(update={"within": stored.within if self.within_time else None})
