"""Several label columns at once: labels that hold or not, or targets of a regression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bdistil.data.labels import REMEDY, Labels, check_varied, regression_targets
from bdistil.errors import DataError
from bdistil.names import TaskChoice
from bdistil.optional import require
from bdistil.runtime.values import as_text, check_present, numbers_or_nan

if TYPE_CHECKING:
    import pandas as pd

TRUTH = {"true": "1", "false": "0"}


def encode_label_columns(columns: Mapping[str, Any], task: TaskChoice, what: str) -> Labels:
    """Encode several columns: zeros and ones are labels, other numbers are targets.

    Args:
        columns: values (N,) of each column, by the label's name.
        task: what the user asks for; auto takes them for labels if any column holds only 0, 1,
            true and false.
        what: names a column in messages, before its name: "label column".

    Returns:
        `y` is float32 (N, L); `class_names` are the columns' names, or None for regression.

    Raises:
        DataError: if values are missing, are none of 0, 1, true and false where another column's
            are, or if all rows have the same one.
    """
    if task == "classification":
        raise DataError(
            f"data.task is classification, but there are {len(columns)} label columns; name one, "
            "or set data.task=multilabel if each holds 0 and 1."
        )
    for name, values in columns.items():
        check_present(values, f"{what} {name!r}", REMEDY)
    found = {name: indicators(values) for name, values in columns.items()}
    if task == "regression" or (task == "auto" and all(np.isnan(y).any() for y in found.values())):
        targets = {name: regression_targets(v, f"{what} {name!r}") for name, v in columns.items()}
        for name, own in targets.items():
            check_varied(own, f"{what} {name!r}", "leave it out")
        return Labels(np.stack([*targets.values()], axis=1), None)
    for name, labels in found.items():
        _check(labels, columns[name], f"{what} {name!r}")
    y = np.stack(list(found.values()), axis=1)
    if task == "auto" and (y.sum(axis=1) == 1).all():
        raise DataError(
            f"the {len(columns)} labels are one-hot: every row has exactly one; give class indices "
            "(y.argmax(axis=1)) in one column, or set data.task=multilabel."
        )
    return Labels(y, tuple(columns))


def name_codes(values: pd.Series[Any], names: Sequence[str] | None) -> pd.Series[Any]:
    """Names for whole numbers that are codes of them; code -1 means no label."""
    if names is None or values.dtype.kind not in "iu":
        return values
    pandas = require("pandas", "table")
    codes = values.where(values < len(names), -1)
    named: pd.Series[Any] = pandas.Series(pandas.Categorical.from_codes(codes, names, ordered=True))
    return named


def indicators(values: Any) -> NDArray[np.float32]:
    """0 and 1 of the shape of the values, float32; NaN where one is not 0, 1, true or false."""
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        texts = (as_text(value) for value in array.ravel())
        words = [TRUTH.get(text.strip().lower(), text) for text in texts]
        array = numbers_or_nan(np.array(words, dtype=object).reshape(array.shape))
    return np.where((array == 0) | (array == 1), array, np.nan).astype(np.float32)


def _check(labels: NDArray[np.float32], values: Any, what: str) -> None:
    wrong = np.isnan(labels)
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(
            f"{what} holds {as_text(np.asarray(values)[row])!r} in row {row} (counted from 0), but "
            "a label is 0, 1, true or false; correct it, leave the column out, or set "
            "data.task=regression if the columns hold quantities."
        )
    if (labels == labels[0]).all():
        raise DataError(
            f"{what} holds only {labels[0]:g}, so there is nothing to learn; leave it out."
        )
