"""A label column of any type as class indices or as regression targets."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bdistil.data.learn_columns import FEWEST_NUMBERS, is_foreign_number
from bdistil.errors import BdistilWarning, DataError
from bdistil.names import ClassType, Task, TaskChoice
from bdistil.runtime.values import as_text, check_present, finite_numbers, sorted_texts

MANY_CLASSES = 50
MANY_CLASSES_SHARE = 0.05
REMEDY = "correct or drop these rows"
LARGEST = 1e18  # of a target; the square of a larger one is infinite in float32
ROUNDINGS = 10  # of float32, that targets must at least spread over
MOST = (0.05, 0.95)  # quantiles of targets between which most of them lie


class Labels(NamedTuple):
    """Labels ready to learn from.

    Attributes:
        y: int64 class indices (N,), or float32 (N, L): targets, or labels 0 and 1.
        class_names: the classes or labels in index order; None for regression.
        class_type: what the labels of the classes were.
    """

    y: NDArray[Any]
    class_names: tuple[str, ...] | None
    class_type: ClassType = "text"


def task_of(y: NDArray[Any], class_names: Sequence[str] | None) -> Task:
    """What labels encoded so ask for (see :class:`Labels`)."""
    if class_names is None:
        return "regression"
    return "classification" if y.ndim == 1 else "multilabel"


def encode_labels(values: Any, task: TaskChoice, what: str) -> Labels:
    """Encode labels: numbers with fractions are targets of a regression, all others classes.

    Classes are ordered by number if all of them are numbers, as given if they are an ordered
    categorical, else by alphabet.

    Args:
        values: a pandas Series or an array (N,).
        task: what the user asks for; auto decides by the values.
        what: names the labels in messages, such as "label column 'species'".

    Raises:
        DataError: if values are missing, do not fit the task or form only one class.
    """
    check_present(values, what, REMEDY)
    if task == "regression" or (task == "auto" and _is_continuous(values)):
        targets = regression_targets(values, what)
        check_varied(targets, what)
        return Labels(targets.reshape(len(targets), -1), None)
    if _is_continuous(values):
        raise DataError(
            f"{what} holds numbers with fractions, which are no classes; set data.task=regression "
            "or turn them into classes."
        )
    names = _class_names(values)
    if task == "auto":
        _refuse_misread_numbers(names, what)
    _check_classes(names, values, task, what)
    _note_blanks(names, what)
    return Labels(class_indices(values, names), names, class_type_of(values, names))


def regression_targets(values: Any, what: str) -> NDArray[np.float32]:
    """Targets of a regression in the shape of the values, (N,) or (N, L).

    Raises:
        DataError: if some are missing or no numbers, or float32 cannot compute with them.
    """
    targets = finite_numbers(values, what, "regression needs numbers, " + REMEDY)
    exact = np.asarray(values).astype(np.float64)
    largest, spread = np.abs(exact).max(axis=0), exact.std(axis=0)
    lost = (spread > 0) & (spread < ROUNDINGS * np.finfo(np.float32).eps * largest)
    if np.any(lost | (largest > LARGEST)):
        raise DataError(
            f"{what} holds numbers up to {largest.max():.3g} in size that spread by "
            f"{spread.max():.3g}, with which float32 cannot compute; subtract a constant or take "
            "another unit."
        )
    low, high = np.quantile(exact, MOST, axis=0)
    hidden = (high > low) & (high - low < ROUNDINGS * np.finfo(np.float32).eps * largest)
    if np.any(hidden):
        raise DataError(
            f"{what} holds numbers up to {largest.max():.3g} in size, beside which float32 cannot "
            f"tell most others apart (90% lie from {low.min():.6g} to {high.max():.6g}); correct "
            f"or drop the outliers, or take logarithms."
        )
    return targets


def class_indices(values: Any, class_names: Sequence[str]) -> NDArray[np.int64]:
    """Index of each raw label among the class names, int64 (N,); -1 for a label not among them.

    A label that is read as text counts as the number or boolean that it looks like, if it is no
    name by itself.
    """
    lookup = {name: index for index, name in enumerate(class_names)}
    codes = (lookup.get(as_text(value), _looks_like(value, lookup)) for value in values)
    return np.fromiter(codes, np.int64, count=len(values))


def _looks_like(value: Any, lookup: dict[str, int]) -> int:
    if not isinstance(value, str):
        return -1
    try:
        return lookup.get(as_text(float(value)), -1)
    except ValueError:
        return lookup.get(value.capitalize(), -1) if value.lower() in ("true", "false") else -1


def _is_continuous(values: Any) -> bool:
    if hasattr(values.dtype, "categories"):
        return False
    array = np.asarray(values)
    if isinstance(array[0], Decimal):
        array = array.astype(np.float64)
    if array.dtype.kind != "f":
        return False
    return bool((~np.isfinite(array) | (array != np.floor(array))).any())


def _class_names(values: Any) -> tuple[str, ...]:
    present = {as_text(value) for value in values}
    dtype = values.dtype
    if getattr(dtype, "ordered", False):
        in_order = (as_text(category) for category in dtype.categories)
        return tuple(name for name in in_order if name in present)
    return tuple(sorted_texts(present))


def class_type_of(values: Any, names: Sequence[str]) -> ClassType:
    """Of labels whose classes have names: what they were before they became text."""
    known = np.asarray(getattr(values.dtype, "categories", values))
    if all(isinstance(value, bool | np.bool_) for value in known.ravel()):
        return "boolean"
    numbers = int | float | np.integer | np.floating | Decimal
    if not all(isinstance(value, numbers) for value in known.ravel()):
        return "text"
    limits = np.iinfo(np.int64)
    whole = (name.removeprefix("-").isdecimal() for name in names)
    return (
        "integer"
        if all(whole) and all(limits.min <= int(name) <= limits.max for name in names)
        else "text"
    )


def _check_classes(names: tuple[str, ...], values: Any, task: TaskChoice, what: str) -> None:
    if len(names) < 2:
        raise DataError(
            f"{what} holds only one class, {names[0]!r}; give data with at least two, or name "
            "another column with data.label."
        )
    whole_numbers = np.asarray(values).dtype.kind in "iuf"
    limit = max(MANY_CLASSES, MANY_CLASSES_SHARE * len(values))
    if task == "auto" and whole_numbers and len(names) > limit:
        raise DataError(
            f"{what} holds {len(names)} different whole numbers, classes or a quantity; "
            "set data.task=classification or data.task=regression."
        )


def _refuse_misread_numbers(names: Sequence[str], what: str) -> None:
    foreign = [name for name in names if is_foreign_number(name)]
    if len(names) >= FEWEST_NUMBERS and len(foreign) > len(names) / 2:
        raise DataError(
            f"{what} holds numbers in another notation, such as {foreign[0]!r}; write them as "
            "1234.5, or set data.task=classification if they are classes."
        )


def check_varied(
    targets: NDArray[np.float32], what: str, remedy: str = "name another column with data.label"
) -> None:
    """Refuse targets (N,) that are all alike."""
    if (targets == targets[0]).all():
        raise DataError(
            f"{what} holds only one value, {as_text(np.ravel(targets)[0])}, so there is nothing to "
            f"learn; {remedy}."
        )


def _note_blanks(names: tuple[str, ...], what: str) -> None:
    """Say which classes differ in blanks or capitals alone."""
    first: dict[str, str] = {}
    for name in names:
        text = " ".join(name.split())
        other = first.setdefault(text.casefold() if len(text) > 1 else text, name)  # letters differ
        if other != name:
            warnings.warn(
                f"{what} holds {other!r} and {name!r}, which differ in blanks or capitals alone "
                "and count as two classes; write them alike if they are one.",
                BdistilWarning,
                stacklevel=2,
            )
