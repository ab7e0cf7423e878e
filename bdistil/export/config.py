"""``config.json`` of a saved ensemble: everything but the weights."""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field, TypeAdapter
from pydantic.dataclasses import dataclass

from bdistil.core.student import StudentConfig
from bdistil.export.evaluation import Evaluation
from bdistil.names import ClassType, Layout, Stacking, Task
from bdistil.runtime.config_file import FORMAT
from bdistil.runtime.manifest import Manifest


@dataclass(frozen=True, kw_only=True)
class EnsembleConfig(Manifest):
    """The manifest with all that ``config.json`` holds, of checked types.

    Attributes:
        stacking: how torch goes straight to each stage, the fastest way when it was exported;
            empty if it was not measured.
    """

    format: int = FORMAT
    domain: str
    task: Task
    class_type: ClassType = "text"
    layout: Layout | None = None
    outputs: int = Field(ge=1)
    students: tuple[StudentConfig, ...] = Field(min_length=1)
    figures: Evaluation | None = None
    stacking: tuple[Stacking, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.stacking) not in (0, self.stages):
            raise ValueError(f"stacking of {len(self.stacking)} stages for {self.stages} students")

    @property
    def costs(self) -> tuple[float, ...] | None:
        """FLOPs up to each stage, all stages before it answered; None if not known."""
        if self.figures is None:
            return self.streamed_flops or None
        return tuple(stage.streamed_flops for stage in self.figures.stages)

    def truncated(self, stages: int) -> EnsembleConfig:
        """Of the first `stages` students alone.

        Early exits were measured with all stages at hand, so they do not carry over; see
        :meth:`~bdistil.searching.result.SearchResult.first_stages`.
        """
        figures, calibration = self.figures, self.calibration
        if figures is not None:
            figures = figures.truncated(stages)
        if calibration is not None and stages < len(self.students):
            calibration = calibration.truncated(stages)
        return replace(
            self,
            students=self.students[:stages],
            figures=figures,
            calibration=calibration,
            streamed_flops=self.streamed_flops[:stages],
            stacking=self.stacking[:stages],
        )


CONFIG = TypeAdapter(EnsembleConfig)
"""Reads and writes the file."""
