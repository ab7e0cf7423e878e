"""What was fitted on the validation split: temperatures, and what leaving early costs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from bdistil.runtime.exits import OperatingPoint


@dataclass(frozen=True)
class Calibration:
    """Fitted on the validation split.

    Attributes:
        temperatures: τ of each stage, the same for all labels; empty for regression.
        error_before: expected calibration error of each stage at τ = 1.
        error: the same at the fitted τ.
        exits: operating points of early exit, all that were tried, as tests of promises need them.
        asks: likewise of handing the least sure examples to the teacher, `cost` being their share;
            empty if its answers were not at hand.
        teacher_temperature: τ of the teacher's logits.
    """

    temperatures: tuple[float, ...] = ()
    error_before: tuple[float, ...] = ()
    error: tuple[float, ...] = ()
    exits: tuple[OperatingPoint, ...] = ()
    asks: tuple[OperatingPoint, ...] = ()
    teacher_temperature: float = 1.0

    def __post_init__(self) -> None:
        for temperature in (*self.temperatures, self.teacher_temperature):
            if not is_positive(temperature):
                raise ValueError("temperatures must be positive and finite")

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Calibration:
        """From JSON."""
        known = {field.name: content[field.name] for field in fields(cls) if field.name in content}
        for name, value in known.items():
            if name in ("exits", "asks"):
                known[name] = tuple(OperatingPoint(**point) for point in value)
            elif isinstance(value, list):
                known[name] = tuple(value)
        return cls(**known)

    def truncated(self, stages: int) -> Calibration:
        """Of the first `stages` stages; their early exits would have to be measured anew."""
        return Calibration(
            self.temperatures[:stages], self.error_before[:stages], self.error[:stages]
        )


def is_positive(value: Any) -> bool:
    """Whether a value of JSON is a positive, finite number; a switch is none."""
    return isinstance(value, int | float) and type(value) is not bool and 0 < value < math.inf
