"""``config.json`` of a saved ensemble: everything but the weights."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bdistil.core.student import StudentConfig
from bdistil.export.calibration import Calibration
from bdistil.export.evaluation import Evaluation
from bdistil.names import Task
from bdistil.runtime.manifest import FORMAT


class EnsembleConfig(BaseModel):
    """Everything but the weights, as ``config.json``.

    Attributes:
        input_shape: shape of one raw example.
        outputs: L, the number of classes, labels or targets.
        class_names: the classes or labels as the user wrote them; None for regression.
        columns: how a table's columns become features; None if features come as arrays.
        figures: what the search measured of each stage.
        calibration: temperatures and early exits, fitted on the validation split.
    """

    model_config = ConfigDict(frozen=True)

    format: int = FORMAT
    name: str
    domain: str
    task: Task
    input_shape: tuple[int, ...]
    outputs: int = Field(ge=1)
    students: tuple[StudentConfig, ...] = Field(min_length=1)
    class_names: tuple[str, ...] | None = None
    columns: dict[str, Any] | None = None
    figures: Evaluation | None = None
    calibration: Calibration | None = None

    @model_validator(mode="after")
    def _a_name_for_each_class(self) -> EnsembleConfig:
        if self.class_names is not None and len(self.class_names) != self.outputs:
            raise ValueError(f"{len(self.class_names)} class_names for {self.outputs} outputs")
        return self

    def truncated(self, stages: int) -> EnsembleConfig:
        """Of the first `stages` students alone.

        Early exits were measured with all stages at hand, so they do not carry over.
        """
        figures, calibration = self.figures, self.calibration
        if figures is not None:
            figures = figures.model_copy(update={"stages": figures.stages[:stages]})
        if calibration is not None and stages < len(self.students):
            calibration = calibration.truncated(stages)
        kept = {"students": self.students[:stages], "figures": figures, "calibration": calibration}
        return self.model_copy(update=kept)
