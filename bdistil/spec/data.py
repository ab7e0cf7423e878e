"""Which data to learn from."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from bdistil.spec.mistakes import shown
from bdistil.spec.section import Section

Task = Literal["auto", "classification", "regression", "multilabel"]


class DataSpec(Section):
    """Which data to learn from: a named data set, or the user's own file."""

    name: str | None = Field(None, description="a data set of `bdistil datasets`")
    path: Path | None = Field(
        None, description="a Parquet, CSV or NPZ file, or a folder with x.npy and y.npy"
    )
    label: str | list[str] = Field(
        "label", description="the label's column in the file, or several columns"
    )
    features: list[str] | None = Field(None, description="feature columns; all others if left out")
    ignore: list[str] = Field([], description="columns to leave out")
    task: Task = "auto"
    validation: float = Field(0.2, gt=0, lt=1, description="share kept for selection")
    test: float = Field(0.2, gt=0, lt=1, description="share kept for the final figures")
    options: dict[str, Any] = Field({}, description="arguments of a named data set")

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
