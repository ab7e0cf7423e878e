"""Teachers that came trained, and rows that they may have learnt from."""

from __future__ import annotations

import math

from bdistil.names import METRIC, Task
from bdistil.teachers.teacher_store import TeacherCard

CLEAR = 4.0  # standard errors between two splits that a teacher without favourites hardly has


def told_seen(
    card: TeacherCard, task: Task, test_metric: float, rows: tuple[int, int]
) -> str | None:
    """What is to be said of a teacher that was trained elsewhere; None of one fitted here.

    Which rows it has learnt from nobody here knows, but an accuracy that differs between
    validation and test by more than chance gives it away.

    Args:
        card: of the teacher, with its metric on validation.
        task: of the data.
        test_metric: of the teacher.
        rows: of validation and test.
    """
    if not card.came_trained:
        return None
    said = (
        "The teacher came trained: where it has learnt from rows of validation or test, its "
        "figures there are better than on new rows, and shares of them worse."
    )
    metrics = (card.validation_metric, test_metric)
    if task != "classification" or standard_errors(metrics, rows) < CLEAR:
        return said
    favourite, other = ("validation", "test") if metrics[0] > metrics[1] else ("test", "validation")
    best, least = max(metrics), min(metrics)
    return (
        f"{said} It very likely has: its {METRIC[task]} is {best:.4f} on {favourite} and "
        f"{least:.4f} on {other}."
    )


def standard_errors(shares: tuple[float, float], rows: tuple[int, int]) -> float:
    """How many standard errors lie between two shares of so many rows, were they alike."""
    pooled = sum(share * count for share, count in zip(shares, rows, strict=True)) / sum(rows)
    variance = pooled * (1 - pooled) * sum(1 / count for count in rows)
    return abs(shares[0] - shares[1]) / math.sqrt(variance) if variance else 0.0
