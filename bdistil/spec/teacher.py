"""The model to distil."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    field_validator,
    model_validator,
)

from bdistil.names import Precision, TeacherInputs, TeacherOutputs
from bdistil.spec.section import MOST_WORKERS, Count, Section


class TeacherSpec(Section):
    """The model to distil: trained here, the user's own, or columns of the user's table."""

    model: str = "auto"
    """a teacher of the zoo, or `auto` to fit the data; or your own (docs/teachers.md):
    `module:factory`, `file.py:factory`, `torchvision:NAME`, `timm:NAME`, a `.onnx` or `.pt2` file
    """
    options: dict[str, Any] = Field({})
    """arguments of the model, such as widths"""
    weights: Path | None = None
    """weights of your own network: `.safetensors`, or a state dict as `.pt` or `.pth`"""
    inputs: TeacherInputs | None = None
    """features that your own model reads: `raw` (if left out) or `standardised`"""
    epochs: Count = 60
    """passes over the training split"""
    lr: PositiveFloat = 2e-3
    """learning rate"""
    batch_size: Count = 64
    """examples a step, or asked at once"""
    workers: Annotated[int, Field(ge=1, le=MOST_WORKERS)] = 1
    """workers of a Ray cluster that train a teacher of the zoo together, each on its part of each
    batch; `batch_size` stays that of all together, so the teacher is the same up to rounding
    """
    precision: Precision = "fp32"
    """of products while a teacher of the zoo trains: `fp32` or, by autocast, `bf16`; judging and
    answers are always fp32
    """
    weight_decay: NonNegativeFloat = 1e-4
    """of AdamW"""
    columns: Annotated[list[str], Field(min_length=1)] | None = None
    """columns that hold a teacher's outputs, one a class (label, target), in class order"""
    outputs: TeacherOutputs = "logits"
    """what `columns` hold or your own model answers: `logits` or `probabilities`"""
    crossfit: NonNegativeInt = 0
    """folds of the training split, each answered by a teacher that was trained without it
    (docs/teachers.md); 0 for none
    """

    @field_validator("crossfit")
    @classmethod
    def _leaves_examples(cls, folds: int) -> int:
        if folds == 1:
            raise ValueError("must be 0 (off) or at least 2 folds, not 1")
        return folds

    @model_validator(mode="after")
    def _one_kind(self) -> TeacherSpec:
        if self.columns is not None and (self.is_foreign or self.weights is not None):
            raise ValueError("give either columns (known outputs) or your own model and weights")
        if self.columns is not None and (self.model != "auto" or self.options):
            what = "options" if self.model == "auto" else f"model: {self.model}"
            raise ValueError(f"columns are known outputs, so {what} would have no effect; give one")
        if self.model.endswith(".py"):
            raise ValueError(f"model names a file; name a factory in it too: {self.model}:NAME")
        if self.weights is not None and ":" not in self.model:
            raise ValueError(
                f"weights go with model: torchvision:NAME, timm:NAME or module:factory, not "
                f"{self.model}"
            )
        if self.inputs is not None and not self.is_foreign:
            raise ValueError("inputs are for your own model; teachers of the zoo standardise")
        return self

    @model_validator(mode="after")
    def _zoo_trains_together(self) -> TeacherSpec:
        known = self.is_foreign or self.columns is not None
        for name, usual in (("workers", 1), ("precision", "fp32")):
            value = getattr(self, name)
            if known and value != usual:
                raise ValueError(
                    f"{name} is {value}, which is for training teachers of the zoo, and this "
                    f"teacher is none; leave it out"
                )
        return self

    @property
    def is_foreign(self) -> bool:
        """Whether the model is the user's own: code, a library's by name, or a file."""
        return ":" in self.model or Path(self.model).suffix != ""

    @property
    def reads(self) -> TeacherInputs:
        """The features that the user's own model reads."""
        return self.inputs or "raw"

    def absolute(self) -> TeacherSpec:
        """The same with absolute paths."""
        place, colon, factory = self.model.rpartition(":")
        path = place if colon else self.model
        if Path(path).suffix in (".py", ".onnx", ".pt2"):
            path = str(Path(path).resolve())
        model = f"{path}{colon}{factory}" if colon else path
        weights = None if self.weights is None else self.weights.resolve()
        return self.model_copy(update={"model": model, "weights": weights})
