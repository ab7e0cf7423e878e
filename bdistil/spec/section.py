"""What the parts of a spec have in common: strict keys, ranges, dimensions."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from bdistil.paths import fault_of_path, shown_path

Value = TypeVar("Value")
Choices = Annotated[list[Value], Field(min_length=1)]

MOST_COUNT = 1_000_000_000
Count = Annotated[int, Field(gt=0, le=MOST_COUNT)]
"""A number of things; beyond that libraries overflow in words of their own."""

MOST_WORKERS = 100_000

MOST = 1e30
"""The largest number with fractions: networks compute in float32, which ends a little above."""

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class Section(BaseModel):
    """A part of the spec: unknown keys are errors, values are immutable.

    The text below a field describes it in docs/spec.md and in editors.
    """

    model_config = ConfigDict(**STRICT, frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        # pydantic would read true as 1: `grace: true` as one second.
        kind = str(cls.model_fields[str(info.field_name)].annotation)
        texts = "str" in kind.replace("dict[str", "")
        is_texts = isinstance(value, list) and texts  # these are told that on is true
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, bool) and "bool" not in kind and not is_texts:
                raise ValueError(f"must not be {str(each).lower()}, which is for switches")
        return value

    @field_validator("*")
    @classmethod
    def _within_float32(cls, value: Any) -> Any:
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, float) and not abs(each) <= MOST:
                raise ValueError(f"must be at most {MOST:g} in size, not {each:g}")
        return value

    @field_validator("*", mode="before")
    @classmethod
    def _possible_paths(cls, value: Any, info: ValidationInfo) -> Any:
        if "pathlib.Path" in str(cls.model_fields[str(info.field_name)].annotation):
            fault = None if value is None else fault_of_path(value)
            if fault is not None:
                raise ValueError(f"{shown_path(value)} {fault}; give a file or folder")
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


def dimension_of(kind: Any) -> Any:
    """A value of this type, a list of them, for numbers a range within their bounds, or None."""
    values = kind | Annotated[list[kind], Field(min_length=1)]
    return values | _range_of(kind) | None if float in (kind, *get_args(kind)) else values | None


def _range_of(number: Any) -> Any:
    ends = TypeAdapter(list[number])

    def check(given: Range) -> Range:
        try:
            ends.validate_python(given.bounds())
        except ValidationError as error:
            raise ValueError(f"{error.errors()[0]['msg']}, not {given!r}") from None
        return given

    return Annotated[Range, AfterValidator(check)]
