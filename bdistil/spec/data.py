"""Which data to learn from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from bdistil.names import TaskChoice
from bdistil.spec.mistakes import shown
from bdistil.spec.section import Section

Part = Annotated[float, Field(gt=0, lt=1)]


class DataSpec(Section):
    """Which data to learn from: a named data set, or the user's own file."""

    name: str | None = None
    """a data set of `bdistil datasets`"""
    path: Path | None = None
    """a Parquet, CSV or NPZ file, or a folder with `x.npy` and `y.npy` (docs/data.md)"""
    label: str | list[str] = "label"
    """the label's column in the file, or several columns `[a, b, c]` (docs/data.md)"""
    features: list[str] | None = None
    """feature columns; all others if left out"""
    ignore: list[str] = Field([])
    """columns to leave out"""
    task: TaskChoice = "auto"
    """`classification`, `multilabel` or `regression`; `auto` decides by the label: whole numbers,
    text and booleans are classes, several columns of 0, 1, true and false are multilabel
    """
    validation: Part = 0.2
    """share kept for selection"""
    test: Part = 0.2
    """share kept for the final figures; a published test split is kept instead"""
    options: dict[str, Any] = Field({})
    """arguments of a named data set, such as `root` (docs/data.md)"""

    @field_validator("label")
    @classmethod
    def _distinct(cls, label: str | list[str]) -> str | list[str]:
        if isinstance(label, list) and not 0 < len(set(label)) == len(label):
            raise ValueError(f"must name one column or several different ones, not {shown(label)}")
        return label

    @property
    def labels(self) -> list[str]:
        """The label's column, or all of several."""
        return [self.label] if isinstance(self.label, str) else self.label

    @model_validator(mode="after")
    def _one_source(self) -> DataSpec:
        if (self.name is None) == (self.path is None):
            raise ValueError("give either name (a known data set) or path (your own file)")
        if self.validation + self.test >= 1:
            raise ValueError("validation + test must leave examples to train on (sum below 1)")
        return self
