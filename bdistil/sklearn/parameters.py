"""Parameters of the estimators that no spec checks, and their mistakes as sentences."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Real
from reprlib import repr as shortened
from typing import Any

from sklearn.base import is_classifier

from bdistil.teachers.estimator import is_estimator


def check_teacher(teacher: Any) -> None:
    """Refuse what is no estimator, which could not be cloned.

    Raises:
        ValueError: with what to give instead.
    """
    if teacher is None:
        return
    if isinstance(teacher, str):
        raise ValueError(
            f"teacher is {shortened(teacher)}, a text; give an estimator such as "
            "LogisticRegression(), or name a network by "
            f"overrides={{'teacher.model': {shortened(teacher)}}}."
        )
    if isinstance(teacher, type):
        raise ValueError(f"teacher is the class {teacher.__name__}; give {teacher.__name__}().")
    if not is_estimator(teacher):
        raise ValueError(
            f"teacher is {shortened(teacher)}, which is no estimator of scikit-learn's; give one, "
            "such as LogisticRegression(), or None for a network that is trained here."
        )


def answers_in_classes(teacher: Any) -> bool:
    """Whether an estimator says that it is a classifier."""
    try:
        return bool(is_classifier(teacher))
    except AttributeError:  # another library's without scikit-learn's tags
        return False


def check_validation_fraction(fraction: Any) -> None:
    """Refuse what is no share.

    Raises:
        ValueError: naming it.
    """
    is_number = isinstance(fraction, Real) and not isinstance(fraction, bool)
    if not is_number or not 0 < fraction < 1:
        raise ValueError(
            f"validation_fraction is {shortened(fraction)}; choose a number between 0 and 1, such "
            "as 0.2."
        )


def widths_of(ladder: Any) -> list[Any] | None:
    """A ladder as a spec takes it.

    Raises:
        ValueError: if it is one width, or a text.
    """
    if ladder is None:
        return None
    if isinstance(ladder, str | bytes) or not isinstance(ladder, Iterable):
        raise ValueError(
            f"ladder is {shortened(ladder)}; give the widths of the classes, such as (8, 16, 32), "
            "or (8,) for one."
        )
    return list(ladder)
