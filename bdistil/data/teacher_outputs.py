"""Check of a teacher's outputs that come with the user's data."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bdistil.data.labels import Labels
from bdistil.errors import TeacherError


def check_width(teacher: NDArray[np.float32] | None, labels: Labels) -> None:
    """Refuse a teacher (N, L) whose width L is not the number of classes or targets.

    Raises:
        TeacherError: if the widths differ.
    """
    if teacher is None:
        return
    if labels.class_names is None:
        expected, order = labels.y.shape[1], "target"
    else:
        expected = len(labels.class_names)
        order = f"class, in the order {', '.join(labels.class_names)}"
    if teacher.shape[1] != expected:
        raise TeacherError(
            f"the teacher has {teacher.shape[1]} outputs, but the label has {expected} "
            f"{'targets' if labels.class_names is None else 'classes'}; give one output a {order}."
        )
