"""``config.json`` of a saved ensemble: everything but the weights."""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field, TypeAdapter
from pydantic.dataclasses import dataclass

from bdistil.core.losses import Task
from bdistil.core.student import StudentConfig
from bdistil.export.evaluation import Evaluation
from bdistil.runtime.manifest import FORMAT
from bdistil.runtime.signature import Signature


@dataclass(frozen=True, kw_only=True)
class EnsembleConfig(Signature):
    """Everything but the weights, as ``config.json``.

    Attributes:
        students: first to last.
        figures: what the search measured of each stage.
    """

    format: int = FORMAT
    domain: str
    task: Task
    outputs: int = Field(ge=1)
    students: tuple[StudentConfig, ...] = Field(min_length=1)
    figures: Evaluation | None = None

    def truncated(self, stages: int) -> EnsembleConfig:
        """Of the first `stages` students alone.

        Early exits were measured with all stages at hand, so they do not carry over.
        """
        figures, calibration = self.figures, self.calibration
        if figures is not None:
            figures = figures.model_copy(update={"stages": figures.stages[:stages]})
        if calibration is not None and stages < len(self.students):
            calibration = calibration.truncated(stages)
        students = self.students[:stages]
        return replace(self, students=students, figures=figures, calibration=calibration)


CONFIG = TypeAdapter(EnsembleConfig)
"""Reads and writes the file."""
