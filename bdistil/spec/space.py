"""The dimensions that trials search over."""

from __future__ import annotations

import itertools
from typing import Any, Literal

from pydantic import Field, field_validator

from bdistil.spec.mistakes import shown
from bdistil.spec.section import Number, Section, values_of

RecipeName = Literal["paper", "faithful", "accurate"]
Distillation = Literal["kl", "squared_p", "squared_log_p"]
Correction = Literal[
    "none", "orthogonal", "bounded", "minimax_relative", "minimax_absolute", "minimax_power"
]
ConnectionName = Literal["none", "residual", "dense", "lstm", "gru"]


class SpaceSpec(Section):
    """The dimensions that trials search over."""

    recipe: RecipeName | list[RecipeName] = "accurate"
    student: str | list[str] = Field("auto", description="student classes of `bdistil students`")
    ladder: list[int] = Field(
        [8, 16, 32], min_length=1, description="widths of the growing classes F_1, F_2, ..."
    )
    connection: ConnectionName | list[ConnectionName] | None = None
    skip: bool | list[bool] | None = None
    gamma: Number = None
    lr: Number = None
    epochs: int | list[int] | None = None
    batch_size: int | list[int] | None = None
    label_share: Number = None
    temperature: Number = None
    weight_decay: Number = None
    early_accept: bool | list[bool] | None = None
    distillation: Distillation | list[Distillation] | None = None
    correction: Correction | list[Correction] | None = None
    correction_bound: Number = None
    growth: float | None = Field(
        None, ge=0, description="cumulative FLOPs of stage t+1 over stage t; 0 = equal widths"
    )

    @field_validator("ladder")
    @classmethod
    def _growing(cls, ladder: list[int]) -> list[int]:
        if ladder[0] < 1 or any(a >= b for a, b in itertools.pairwise(ladder)):
            raise ValueError(f"widths must be positive and growing, not {ladder}")
        return ladder

    @field_validator("*")
    @classmethod
    def _not_empty(cls, value: Any) -> Any:
        if isinstance(value, list) and not value:
            raise ValueError("a list of choices needs at least one entry")
        return value

    @field_validator("gamma", "lr", "epochs", "batch_size", "temperature", "correction_bound")
    @classmethod
    def _positive(cls, value: Any) -> Any:
        if any(v <= 0 for v in values_of(value)):
            raise ValueError(f"must be positive, not {shown(value)}")
        return value

    @field_validator("weight_decay")
    @classmethod
    def _not_negative(cls, value: Any) -> Any:
        if any(v < 0 for v in values_of(value)):
            raise ValueError(f"must not be negative, not {shown(value)}")
        return value

    @field_validator("label_share")
    @classmethod
    def _is_share(cls, value: Any) -> Any:
        if any(not 0 <= v <= 1 for v in values_of(value)):
            raise ValueError(f"must lie between 0 and 1, not {shown(value)}")
        return value

    @field_validator("growth")
    @classmethod
    def _grows(cls, growth: float | None) -> float | None:
        if growth and growth <= 1:
            raise ValueError(f"must be above 1, or 0 for equal widths, not {growth:g}")
        return growth
