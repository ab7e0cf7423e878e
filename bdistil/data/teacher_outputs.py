"""Check of a teacher's outputs that come with the user's data."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bdistil.data.labels import Labels
from bdistil.errors import TeacherError


def check_width(teacher_outputs: NDArray[np.float32] | None, labels: Labels) -> None:
    """Refuse a teacher (N, L) whose width L is not the number of classes, labels or targets.

    Raises:
        TeacherError: if the widths differ.
    """
    if teacher_outputs is None:
        return
    found, names = teacher_outputs.shape[1], labels.class_names
    expected = labels.y.shape[1] if names is None else len(names)
    if found != expected:
        kind = "class" if labels.y.ndim == 1 else "label"
        order = "target" if names is None else f"{kind}, in the order {', '.join(names)}"
        raise TeacherError(
            f"the teacher has {found} output{'s' if found > 1 else ''}, but the label needs "
            f"{expected}; give one a {order}."
        )
