"""A teacher that is known by its outputs alone: columns of the user's data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from bdistil.data.dataset import Dataset, Split
from bdistil.errors import TeacherError
from bdistil.spec import Spec
from bdistil.teachers.answers import as_taught
from bdistil.teachers.source import AnswerProgress, EpochProgress, Rows, Teacher, refuse_rows


def answers_are_given(dataset: Dataset, spec: Spec) -> bool:
    """Whether the teacher is known by its outputs: columns, or an array beside the data.

    A network that is named by `teacher.model` comes before such an array.
    """
    settings = spec.teacher
    beside = settings.model == "auto" and dataset.train.teacher_outputs is not None
    return settings.columns is not None or beside


@dataclass(frozen=True)
class ColumnsSource:
    """Outputs that came with the data."""

    kind: ClassVar[str] = "columns"
    can_refit: ClassVar[bool] = False

    dataset: Dataset
    spec: Spec

    def check(self) -> None:
        """Look at all outputs.

        Raises:
            TeacherError: if their number is not that of the classes, or probabilities are none.
        """
        for split in (self.dataset.train, self.dataset.validation, self.dataset.test):
            self._logits(split)

    def known_flops(self) -> None:
        """A table does not say."""

    def untrained_network(self) -> None:
        """There is none."""

    def obtain(self, rows: Rows | None = None, progress: EpochProgress | None = None) -> Teacher:
        """The columns as a teacher."""
        refuse_rows("columns", rows)
        return Teacher(self._logits, seconds=self.dataset.teacher_seconds)

    def _logits(self, split: Split, progress: AnswerProgress | None = None) -> NDArray[np.float32]:
        outputs, dataset = split.teacher_outputs, self.dataset
        if outputs is None or outputs.shape[1] != dataset.outputs:
            found = 0 if outputs is None else outputs.shape[1]
            names = ", ".join(dataset.class_names or ())
            raise TeacherError(
                f"the teacher's answers in the data are {found} an example, but there are "
                f"{dataset.outputs} classes or labels ({names}); give one column each, in this "
                f"order."
            )
        return as_taught(outputs, dataset, self.spec.teacher.outputs)
