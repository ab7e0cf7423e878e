"""``config.json`` of a saved ensemble: everything but the weights."""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field, TypeAdapter
from pydantic.dataclasses import dataclass

from bdistil.core.student import StudentConfig
from bdistil.export.evaluation import Evaluation
from bdistil.names import Task
from bdistil.runtime.manifest import FORMAT, Manifest


@dataclass(frozen=True, kw_only=True)
class EnsembleConfig(Manifest):
    """The manifest with all that ``config.json`` holds, of checked types."""

    format: int = FORMAT
    domain: str
    task: Task
    outputs: int = Field(ge=1)
    students: tuple[StudentConfig, ...] = Field(min_length=1)
    figures: Evaluation | None = None

    @property
    def costs(self) -> tuple[float, ...] | None:
        """FLOPs up to each stage, all stages before it answered; None if not known."""
        if self.figures is None:
            return None
        return tuple(stage.streamed_flops for stage in self.figures.stages)

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
