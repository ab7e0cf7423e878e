"""The user's own NPZ file or folder of NPY files as a Dataset: `x`, `y` and maybe `teacher`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdistil.data.data_card import ColumnNote
from bdistil.data.dataset import Dataset
from bdistil.data.divide import known_of
from bdistil.data.label_columns import encode_label_columns
from bdistil.data.labels import Labels, encode_labels
from bdistil.data.large import array_splits
from bdistil.data.layout import Reading, arranged
from bdistil.data.own import assemble_own, check_unset, check_unused
from bdistil.data.repeats import row_hashes
from bdistil.data.split import SplitIndices
from bdistil.data.weights import weights_named
from bdistil.errors import DataError, SpecError, TeacherError
from bdistil.files.array_files import cache_folder, file_state
from bdistil.files.file_readers import errors_naming, read_arrays
from bdistil.files.parts import Parts, join_parts, part_named
from bdistil.files.wording import some
from bdistil.names import TaskChoice
from bdistil.runtime.values import finite_numbers
from bdistil.spec import DataSpec
from bdistil.spec.data import COLUMN_KEYS

TEACHER = "teacher"
Arrays = dict[str, NDArray[Any]]


def load_arrays(spec: DataSpec, seed: int, teacher_columns: Sequence[str] | None = None) -> Dataset:
    """Read an NPZ file, or a folder of NPY files whose `x` stays on disk, and split it.

    It holds `x`, numbers of shape (N, features), (N, time, features) or (N, channels, height,
    width), or as `data.layout` says; `y`, classes (N,), or targets or labels 0 and 1 (N, L); and
    maybe `teacher`, numbers (N, L), which is read whenever it is there. `data.split`, `data.group`,
    `data.order` and `data.weight` name further arrays (N,). Arrays `x_train`, `y_train`, `x_test`
    and so on are splits as given.

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
    check_unset(spec, ("features", "ignore", "series", "time"), "holds arrays")
    check_unused(spec, "layout", "holds arrays")
    if spec.label not in ("label", "y"):
        raise SpecError(
            f"data.label is {spec.label!r}, but an NPZ file holds its labels as array 'y'; "
            "leave data.label out."
        )
    read = {key: _read(spec, key, teacher_columns) for key in spec.sources}
    found = {key: arrays for key, (arrays, _) in read.items()}
    with errors_naming(spec.path):
        parts = join_parts({key: (own, len(arrays["x"])) for key, (arrays, own) in read.items()})
        arrays = _joined(found)
        features = ArrayFeatures(arranged(arrays["x"], spec.layout), spec)
        return assemble_own(
            spec,
            seed,
            " and ".join(path.name for path in spec.sources.values()),
            features,
            _labels(arrays["y"], spec.task),
            known_of(arrays, spec, parts),
            teacher_outputs=arrays.get(TEACHER),
            weights=weights_named(arrays, spec, "array"),
        )


class ArrayFeatures:
    """Features that are one array, in memory or mapped (see :class:`bdistil.data.own.Features`)."""

    padding = form = None

    def __init__(self, reading: Reading, spec: DataSpec) -> None:
        self.x, self.domain, self.note = reading
        self.spec = spec
        self.mapped = isinstance(reading.x, np.memmap)
        if not self.mapped:
            self.x = finite_numbers(reading.x, "array 'x'", "correct or drop these examples")

    def hashes(self) -> NDArray[np.uint64] | None:
        """Of each example."""
        return row_hashes(self.x)

    def splits(self, rows: SplitIndices) -> list[NDArray[Any]]:
        """The rows of each split, mapped if they were."""
        if not self.mapped:
            return [np.ascontiguousarray(self.x[own]) for own in rows]
        assert self.spec.path is not None
        state = [file_state(sorted(self.spec.path.glob("*.npy"))), self.spec.layout]
        return array_splits(self.x, rows, state, cache_folder(self.spec.path))

    def columns(self) -> None:
        """They are not made of columns."""

    def said(self) -> tuple[list[ColumnNote], list[str]]:
        """How the axes were taken, if they could be taken in several ways."""
        return [], [self.note] if self.note else []


def _read(
    spec: DataSpec, key: str, teacher_columns: Sequence[str] | None
) -> tuple[Arrays, Parts | None]:
    """The arrays of one source that have a use, equally long, and the splits that they name."""
    path = spec.sources[key]
    with errors_naming(path):
        arrays, parts = _splits_joined(read_arrays(path))
        used = {name: _required(arrays, name) for name in ("x", "y")}
        teacher_outputs = _teacher(arrays, teacher_columns)
        used |= {} if teacher_outputs is None else {TEACHER: teacher_outputs}
        for field in COLUMN_KEYS:
            if (name := getattr(spec, field)) is not None:
                used[name] = _side_array(arrays, name, f"data.{field}")
        _check_lengths(used)
        return used, parts


def _splits_joined(arrays: Arrays) -> tuple[Arrays, Parts | None]:
    """Arrays `x` and `y` of `x_train`, `y_train`, `x_test` and so on, as Keras keeps them."""
    found = {name[2:]: part_named(name[2:]) for name in arrays if name.startswith("x_")}
    parts = {word: part for word, part in found.items() if part is not None}
    if "x" in arrays or not parts:
        return arrays, None
    pairs = [(_required(arrays, f"x_{word}"), _required(arrays, f"y_{word}")) for word in parts]
    for x, y in pairs:
        _check_lengths({"x": x, "y": y})
    joined = {"x": np.concatenate([x for x, _ in pairs])}
    joined["y"] = np.concatenate([y for _, y in pairs])
    rows = [len(x) for x, _ in pairs]
    return joined, np.repeat(np.array(list(parts.values()), np.int8), rows)


def _joined(found: dict[str, Arrays]) -> Arrays:
    """The rows of all sources, one below the other."""
    first, *others = found.values()
    for arrays in others:
        if arrays.keys() != first.keys():
            raise DataError(
                f"the sources have different arrays ({some(sorted(first))} and "
                f"{some(sorted(arrays))}); save the same in each."
            )
        for name, array in arrays.items():
            if array.shape[1:] != first[name].shape[1:]:
                raise DataError(
                    f"array {name!r} has shapes {first[name].shape} and {array.shape} in two "
                    "sources; only the first number may differ."
                )
    if not others:
        return first
    return {name: np.concatenate([arrays[name] for arrays in found.values()]) for name in first}


def _side_array(arrays: Arrays, name: str, field: str) -> NDArray[Any]:
    if name not in arrays:
        raise DataError(
            f"{field} names array {name!r}, which is missing; there are {some(sorted(arrays))}."
        )
    if arrays[name].ndim != 1:
        raise DataError(
            f"array {name!r} of {field} has shape {arrays[name].shape}; give one value an example."
        )
    return arrays[name]


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
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise DataError(f"the arrays differ in length ({shown}); give one entry an example.")


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
