"""What a search is for: how much of the teacher to keep, at what cost."""

from __future__ import annotations

import re
import sys
from typing import Annotated, Any

from pydantic import BeforeValidator, PositiveFloat, model_validator

from bdistil.names import GoalMetric, Runtime
from bdistil.spec.section import MOST, Count, Section

LARGEST_SHARE = 100
"""Of the teacher's; what is larger was meant as a number of FLOPs, parameters or seconds."""
AUTO = "auto"
DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(us|µs|ms|s)")


def _from_percent(value: Any) -> Any:
    if isinstance(value, str) and value.strip().endswith("%"):
        try:
            return float(value.strip()[:-1]) / 100
        except ValueError:
            raise ValueError(f"must be a share such as 0.5 or 50%, not {value!r}") from None
    return value


def _amount(given: Any) -> Any:
    """A share as a float, a number of things as an int."""
    value = _from_percent(given)
    try:
        if isinstance(value, str):
            value = int(value) if value.strip().isdecimal() else float(value)
        count = isinstance(value, int) and value > 1
        fits = 0 < value <= (MOST if count else LARGEST_SHARE)
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise ValueError(
            "must be a share of the teacher's such as 0.5 or 50%, or a whole number above 1 such "
            f"as 20000, not {given!r}"
        )
    return value


def _time(given: Any) -> Any:
    """A share as a float, a duration as a text of number and unit; `auto` stays."""
    if given == AUTO:
        return AUTO
    value = _from_percent(given)
    found = DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    try:
        number = float(value if found is None else found[1])
    except (TypeError, ValueError):
        number = 0.0
    if not 0 < number <= (LARGEST_SHARE if found is None else sys.float_info.max):
        raise ValueError(
            f"must be a share of the teacher's time such as 0.25 or 25%, a duration such as 2ms, "
            f"or auto, not {given!r}"
        )
    return number if found is None else "".join(found.groups())


Share = Annotated[PositiveFloat, BeforeValidator(_from_percent, json_schema_input_type=float | str)]
Amount = Annotated[int | float, BeforeValidator(_amount, json_schema_input_type=float | str)]
Time = Annotated[float | str, BeforeValidator(_time, json_schema_input_type=float | str)]


def is_count(amount: float) -> bool:
    """Whether an amount is a number of things, not a share of the teacher's."""
    return isinstance(amount, int) and amount > 1


def amount_of(amount: float | None, teacher: int | None) -> float | None:
    """An amount as a number of things; None without a limit, or for a share of what is not known.

    Args:
        amount: a share of the teacher's, or, as an int above 1, what it says.
        teacher: what the teacher has; None if that is not known.
    """
    if amount is None or is_count(amount):
        return amount
    return None if teacher is None else amount * teacher


class GoalSpec(Section):
    """When a search has found enough. Shares are numbers such as 0.5, or `50%`; whole numbers above
    1 are FLOPs or parameters themselves. Of several limits the one that is met first rules;
    `search.rounds` is the limit of students.
    """

    keep: Share | None = None
    """share of the teacher's metric on validation that is enough; a standard error more where the
    metric has one (classes), but no more than the teacher's own
    """
    metric: GoalMetric | None = None
    """what `keep` is about: `accuracy`, `balanced_accuracy`, `macro_f1` or `auc`; the task's own if
    left out (accuracy, micro F1, R²)
    """
    within: Amount | None = None
    """share of the teacher's FLOPs that the last stage may cost, or a number of FLOPs"""
    within_parameters: Amount | None = None
    """share of the teacher's parameters that the last stage may have, or their number; with folded
    heads, as `bdistil status` counts them
    """
    within_time: Time | None = None
    """share of the teacher's time that the last stage may take, or a duration such as `2ms`: of one
    example, on the machine that searches. `within` follows from it if it is left out
    (and is kept then: with another `within_time`, `bdistil resume` needs `goal.within=null` too).
    `auto`, which the shortest command has, is no limit: where two students of `within` would take
    more than 1.4 times that share of the teacher's time, `within` is lowered to what takes the
    share, or to three of the smallest student's cost, once, when a run begins
    """
    runtime: Runtime | None = None
    """what `within_time` is measured by: `torch` (if left out; so do the tables of `bdistil
    status`) or `onnxruntime`, in the graph that an export would write; each candidate that is timed
    is exported for it, which takes seconds
    """
    threads: Count = 1
    """threads that `within_time` is measured with: torch's, or those on which onnxruntime runs
    branches of a graph at the same time (as `Predictor(threads=...)` has it)
    """

    @model_validator(mode="after")
    def _measures_something(self) -> GoalSpec:
        if not self.limits_time:
            for name, given in (("runtime", self.runtime), ("threads", self.threads)):
                if given not in (None, 1):
                    raise ValueError(
                        f"{name} is {given!r}, but it says how within_time is measured; give "
                        f"within_time, or remove {name}"
                    )
        return self

    @property
    def limits_time(self) -> bool:
        """Whether stages are kept by the clock."""
        return self.within_time not in (None, AUTO)

    @property
    def timed(self) -> tuple[float | str | None, Runtime, int]:
        """The limit of time, and how it is measured."""
        return self.within_time, self.runtime or "torch", self.threads

    def as_decided_in(self, stored: GoalSpec) -> GoalSpec:
        """With the FLOPs that a limit of time stood for when the run began."""
        if self.within_time == AUTO and stored.within_time is None:
            return self.model_copy(update={"within": stored.within, "within_time": None})
        if self.within is not None or self.timed != stored.timed:
            return self
        return self.model_copy(update={"within": stored.within if self.within_time else None})
