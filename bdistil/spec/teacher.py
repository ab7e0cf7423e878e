"""The model to distil."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from bdistil.spec.section import Section


class TeacherSpec(Section):
    """The model to distil: trained here, the user's own, or columns of the user's table."""

    model: str = Field(
        "auto",
        description="a teacher of the zoo, auto, torchvision:NAME, timm:NAME, module:factory, "
        "file.py:factory, or a .onnx or .pt2 file",
    )
    options: dict[str, Any] = Field({}, description="arguments of the model, such as widths")
    weights: Path | None = Field(
        None, description="weights of your own network: .safetensors, or a state dict as .pt"
    )
    inputs: Literal["raw", "standardised"] | None = Field(
        None, description="features that your own model reads; raw if left out"
    )
    epochs: int = Field(60, ge=1)
    lr: float = Field(2e-3, gt=0)
    batch_size: int = Field(64, ge=1)
    weight_decay: float = Field(1e-4, ge=0)
    columns: list[str] | None = Field(
        None,
        min_length=1,
        description="columns that hold a teacher's outputs, one a class, in class order",
    )
    outputs: Literal["logits", "probabilities"] = "logits"
    crossfit: int = Field(
        0, ge=0, description="folds, each answered by a teacher trained without it; 0 = off"
    )

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

    @property
    def is_foreign(self) -> bool:
        """Whether the model is the user's own: code, a library's by name, or a file."""
        return ":" in self.model or Path(self.model).suffix != ""

    @property
    def reads(self) -> Literal["raw", "standardised"]:
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
