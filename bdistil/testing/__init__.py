"""Contracts that students, teachers and data sets keep, as checks for your own tests.

Each check is a function of a registered name that raises an AssertionError in one sentence. Call
all of them at once, or give ``STUDENT_CHECKS`` and its like to ``pytest.mark.parametrize``, as
bdistil's own tests do. Nothing here needs pytest.
"""

from bdistil.testing.dataset_contract import DATASET_CHECKS, check_dataset
from bdistil.testing.student_contract import (
    STUDENT_CHECKS,
    STUDENT_SHAPES,
    check_student,
    check_student_exports,
)
from bdistil.testing.teacher_contract import TEACHER_CHECKS, TEACHER_SHAPES, check_teacher

__all__ = [
    "DATASET_CHECKS",
    "STUDENT_CHECKS",
    "STUDENT_SHAPES",
    "TEACHER_CHECKS",
    "TEACHER_SHAPES",
    "check_dataset",
    "check_student",
    "check_student_exports",
    "check_teacher",
]
