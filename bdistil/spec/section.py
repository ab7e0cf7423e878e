"""What the parts of a spec have in common: strict keys, ranges, dimensions."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator, model_validator


class Section(BaseModel):
    """A part of the spec: unknown keys are errors, values are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        # pydantic would read true as 1: `grace: true` as one second.
        field = cls.model_fields[str(info.field_name)]
        if isinstance(value, bool) and "bool" not in str(field.annotation):
            raise ValueError(f"must not be {str(value).lower()}, which is for switches")
        return value


class Range(Section):
    """A closed interval of numbers, sampled uniformly or, with ``log``, log-uniformly."""

    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low:g}) must be below high ({self.high:g})")
        if self.log and self.low <= 0:
            raise ValueError(f"a log range needs low > 0, not {self.low:g}")
        return self

    def __repr__(self) -> str:
        return f"{self.low:g} to {self.high:g}"

    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest value."""
        return self.low, self.high


Number = float | list[float] | Range | None


def values_of(dimension: Any) -> tuple[Any, ...]:
    """Every value named in a dimension: its constant, its choices or its two bounds."""
    if dimension is None:
        return ()
    if isinstance(dimension, Range):
        return dimension.bounds()
    return tuple(dimension) if isinstance(dimension, list) else (dimension,)
