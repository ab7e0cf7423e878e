"""Which data to learn from."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from bdistil.spec.mistakes import shown
from bdistil.spec.section import Section

Task = Literal["auto", "classification", "regression", "multilabel"]
Layout = Literal["sequence", "image", "NTF", "NFT", "NHW", "NCHW", "NHWC"]


class DataSpec(Section):
    """Which data to learn from: a named data set, or the user's own file."""

    name: str | None = Field(None, description="a data set of `bdistil datasets`")
    path: Path | None = Field(
        None,
        description="a Parquet, CSV or NPZ file, or a folder: of photographs or recordings, "
        "CLASS/*.jpg or CLASS/*.wav, of Parquet parts, or with x.npy and y.npy",
    )
    validation_path: Path | None = Field(None, description="validation examples of their own")
    test_path: Path | None = Field(None, description="test examples of their own")
    label: str | list[str] = Field(
        "label", description="the label's column in the file, or several columns"
    )
    features: list[str] | None = Field(None, description="feature columns; all others if left out")
    ignore: list[str] = Field([], description="columns to leave out")
    task: Task = "auto"
    split: str | None = Field(
        None, description="a column that says train, validation or test of each row"
    )
    group: str | None = Field(
        None, description="a column such as speaker; no group stands in two splits"
    )
    order: str | None = Field(
        None, description="a column such as date; the last rows are test, validation comes before"
    )
    layout: Layout | None = Field(
        None, description="what the axes of x mean where its shape leaves it open"
    )
    size: int | None = Field(
        None, ge=4, description="height and width of photographs; by default as they are if small"
    )
    seconds: float | None = Field(
        None, gt=0, description="length of recordings; by default 95% of them are no longer"
    )
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

    @property
    def sources(self) -> dict[str, Path]:
        """The user's files by the spec's key: `path`, and those of splits of their own."""
        keys = ("path", "validation_path", "test_path")
        return {key: path for key in keys if (path := getattr(self, key)) is not None}

    def absolute(self) -> DataSpec:
        """The same with paths that hold in any working directory."""
        return self.model_copy(update={key: path.resolve() for key, path in self.sources.items()})

    @model_validator(mode="after")
    def _one_source(self) -> DataSpec:
        if (self.name is None) == (self.path is None):
            raise ValueError("give either name (a known data set) or path (your own file)")
        if self.name is not None and self.sources:
            raise ValueError("data.validation_path and data.test_path go with data.path")
        if self.validation + self.test >= 1:
            raise ValueError("validation + test must leave examples to train on (sum below 1)")
        return self
