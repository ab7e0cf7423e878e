"""The user's own NPZ file or folder of NPY files as a Dataset: `x`, `y` and maybe `teacher`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdistil.data.assemble import assemble
from bdistil.data.dataset import Dataset
from bdistil.data.file_readers import errors_naming, read_arrays
from bdistil.data.label_columns import encode_label_columns
from bdistil.data.labels import Labels, encode_labels
from bdistil.data.large import array_splits
from bdistil.data.split import split_indices
from bdistil.data.teacher_outputs import check_width
from bdistil.data.values import finite_numbers
from bdistil.errors import DataError, SpecError, TeacherError
from bdistil.names import Domain, TaskChoice
from bdistil.spec import DataSpec

DOMAINS: dict[int, Domain] = {2: "tabular", 3: "sequence", 4: "image"}
TEACHER = "teacher"


def load_arrays(spec: DataSpec, seed: int, teacher_columns: Sequence[str] | None = None) -> Dataset:
    """Read an NPZ file, or a folder of NPY files whose `x` stays on disk, and split it.

    It holds `x`, numbers of shape (N, features), (N, time, features) or (N, channels, height,
    width); `y`, classes (N,), or targets or labels 0 and 1 (N, L); and maybe `teacher`,
    numbers (N, L), which is read whenever it is there.

    Args:
        spec: with `path`.
        seed: of the split.
        teacher_columns: None, or ["teacher"] if the array must be there.

    Raises:
        SpecError: if the spec names columns, which an NPZ file has not.
        DataError: if the file or one of its arrays is missing or unfit.
        TeacherError: if the teacher's array is missing or unfit.
    """
    assert spec.path is not None
    if spec.features is not None or spec.ignore:
        raise SpecError(
            "data.features and data.ignore are for tables; remove them for an NPZ file."
        )
    if spec.label not in ("label", "y"):
        raise SpecError(
            f"data.label is {spec.label!r}, but an NPZ file holds its labels as array 'y'; "
            "leave data.label out."
        )
    with errors_naming(spec.path):
        arrays = read_arrays(spec.path)
        x, y = _required(arrays, "x"), _required(arrays, "y")
        teacher = _teacher(arrays, teacher_columns)
        _check_lengths(arrays)
        domain = _domain(x)
        if not isinstance(x, np.memmap):
            x = finite_numbers(x, "array 'x'", "correct or drop these examples")
        labels = _labels(y, spec.task)
        check_width(teacher, labels)
        indices = split_indices(*labels, validation=spec.validation, test=spec.test, seed=seed)
        return assemble(
            spec.path.stem,
            domain,
            array_splits(spec, seed, x, indices) if isinstance(x, np.memmap) else x,
            labels.y,
            indices,
            class_names=labels.class_names,
            teacher=teacher,
        )


def _required(arrays: dict[str, NDArray[Any]], name: str) -> NDArray[Any]:
    if name not in arrays:
        there = ", ".join(arrays) or "none"
        raise DataError(
            f"array {name!r} is missing (there: {there}); save features as 'x' and labels as 'y'."
        )
    if arrays[name].ndim == 0 or arrays[name].size == 0:
        raise DataError(f"array {name!r} of shape {arrays[name].shape} is empty; give examples.")
    return arrays[name]


def _check_lengths(arrays: dict[str, NDArray[Any]]) -> None:
    lengths = {name: len(arrays[name]) for name in ("x", "y", TEACHER) if name in arrays}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise DataError(f"the arrays differ in length ({shown}); give one entry an example.")


def _domain(x: NDArray[Any]) -> Domain:
    if x.ndim not in DOMAINS:
        raise DataError(
            f"array 'x' has shape {x.shape}; give (N, features), (N, time, features) or "
            "(N, channels, height, width)."
        )
    return DOMAINS[x.ndim]


def _labels(y: NDArray[Any], task: TaskChoice) -> Labels:
    if y.ndim > 2:
        raise DataError(
            f"array 'y' has shape {y.shape}; give (N,), or (N, L) for L targets or labels."
        )
    y = y.reshape(len(y), -1)
    if y.shape[1] == 1 and task != "multilabel":
        return encode_labels(y[:, 0], task, "array 'y'")
    columns = {str(index): y[:, index] for index in range(y.shape[1])}
    return encode_label_columns(columns, task, "array 'y', column")


def _teacher(
    arrays: dict[str, NDArray[Any]], wanted: Sequence[str] | None
) -> NDArray[np.float32] | None:
    if wanted is not None and list(wanted) != [TEACHER]:
        raise TeacherError(
            f"teacher.columns is {list(wanted)}, but an NPZ file holds the teacher's outputs as "
            f"one array (N, L); set teacher.columns=[{TEACHER}]."
        )
    if TEACHER not in arrays:
        if wanted is None:
            return None
        raise TeacherError(f"array {TEACHER!r} is missing; save the teacher's outputs (N, L) so.")
    if arrays[TEACHER].ndim != 2:
        raise TeacherError(
            f"array {TEACHER!r} has shape {arrays[TEACHER].shape}; give (N, L), one output a class."
        )
    return finite_numbers(
        arrays[TEACHER], f"array {TEACHER!r}", "correct or drop these examples", TeacherError
    )
