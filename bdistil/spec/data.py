"""Which data to learn from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, field_validator, model_validator

from bdistil.names import Layout, TaskChoice
from bdistil.spec.mistakes import shown
from bdistil.spec.section import Section
from bdistil.spec.views import ViewSpec

COLUMN_KEYS = ("split", "group", "order", "weight", "series", "time")
"""Keys that name one column of the user's, which is no feature."""

Part = Annotated[float, Field(gt=0, lt=1)]


class DataSpec(Section):
    """Which data to learn from: a named data set, or the user's own file."""

    name: str | None = None
    """a data set of `bdistil datasets`"""
    path: Path | None = None
    """a table (Parquet, CSV, JSON, Arrow, ORC, ...), a `.ts` or NPZ file, or a folder: of
    photographs or recordings, `CLASS/*.jpg` or `CLASS/*.wav`, of parts of a table, or with `x.npy`
    and `y.npy` (docs/data.md)
    """
    validation_path: Path | None = None
    """validation examples of their own"""
    test_path: Path | None = None
    """test examples of their own"""
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
    split: str | None = None
    """a column that says train, validation or test of each row (docs/data.md)"""
    group: str | None = None
    """a column such as speaker; no group stands in two splits. Of files in folders, `folder`: the
    one in its class that each lies in, CLASS/GROUP/*
    """
    order: str | None = None
    """a column such as date; the last rows are test, those before them validation"""
    weight: str | None = None
    """a column of numbers from 0: how much each row counts in training and in choosing students"""
    series: str | None = None
    """a column such as an identifier: its rows of one value are the steps of one sequence, which
    has one label (docs/data.md)
    """
    time: str | None = None
    """a column by which the steps of each series are sorted; left out, they stay as they stand"""
    class_weight: Literal["balanced"] | dict[str, PositiveFloat] | None = None
    """how much each class counts there: `balanced` lets rare ones count as much as common ones, or
    `{name: number}`; times `data.weight`. Choose `goal.metric: balanced_accuracy` beside it
    """
    layout: Layout | None = None
    """what the axes of `x` mean where its shape leaves it open"""
    size: Annotated[int, Field(ge=4)] | None = None
    """height and width of photographs; small ones of one size stay as they are by default"""
    seconds: PositiveFloat | None = None
    """length of recordings; by default 95% of them are no longer"""
    validation: Part = 0.2
    """share kept for selection"""
    test: Part = 0.2
    """share kept for the final figures; a published test split is kept instead"""
    views: ViewSpec | bool | None = None
    """changed copies of the training examples, each answered by the teacher; students are trained
    on these (docs/data.md): `{crop: 4, flip: true}`, true for those that suit the data, or false.
    Left out, photographs and recordings have some where the teacher's answers cost less than
    the training, and students with and without them compete
    """
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
        if self.time is not None and self.series is None:
            raise ValueError("data.time sorts the steps of data.series; name that column, too")
        if self.time is not None and self.time == self.series:
            raise ValueError("data.time and data.series are one column; name two")
        if self.validation + self.test >= 1:
            raise ValueError("validation + test must leave examples to train on (sum below 1)")
        return self
