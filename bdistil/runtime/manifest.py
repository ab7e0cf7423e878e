"""``config.json`` as a device reads it: what goes into an ensemble and what comes out.

json and numpy alone, without torch or pydantic.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdistil.errors import BdistilWarning, CheckpointError, DataError
from bdistil.names import CLASS_TYPES, TASKS
from bdistil.runtime.calibration import Calibration, is_positive
from bdistil.runtime.columns import TableColumns
from bdistil.runtime.config_file import CONFIG_FILE, check_types, read_config
from bdistil.runtime.exits import OperatingPoint
from bdistil.runtime.hashes import CONFIG_HASH, check_config_hash, hash_of_config
from bdistil.runtime.tables import as_table
from bdistil.runtime.values import as_column, as_text, finite_numbers

FLOAT32 = np.dtype(np.float32)
RESCALED = 50  # times less light than in training is no dark room
REMEDY = "correct these values or leave the examples out"
MOST_OUTPUTS, MOST_INPUTS = 1_000_000, 2**30
"""What a configuration may say before it is taken for damaged: memory is made by it."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a predictor must know beside the weights or graphs.

    Attributes:
        name: of the ensemble.
        task: classification, multilabel or regression.
        input_shape: shape of one raw example.
        outputs: L, the number of classes, labels or targets.
        students: what each is, first to last.
        class_names: the classes or labels as the user wrote them; None for regression.
        class_type: what labels of classes were, and are in answers; see
            :data:`~bdistil.names.ClassType`.
        columns: how a table's columns become features; None if features come as arrays.
        form: how photographs or recordings become features; None for other sources.
        layout: what the axes of arrays in files mean (`data.layout`); None decides by the shape.
        figures: what the search measured of each stage.
        streamed_flops: see `costs`; empty where `figures` have them.
        calibration: temperatures and early exits, fitted on the validation split.
        weights_hash: SHA-256 of ``model.safetensors``; empty if not known.
        largest_pixel: of the images of training; None for other data, or if not known.
    """

    name: str
    task: str
    input_shape: tuple[int, ...]
    outputs: int
    students: tuple[Any, ...]
    class_names: tuple[str, ...] | None = None
    class_type: str = "text"
    columns: TableColumns | None = None
    form: Mapping[str, Any] | None = None
    layout: str | None = None
    figures: Any = None
    streamed_flops: tuple[int, ...] = ()
    calibration: Calibration | None = None
    weights_hash: str = ""
    largest_pixel: float | None = None

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ValueError(f"task {self.task!r} is none of {TASKS}")
        if type(self.outputs) is not int or not 1 <= self.outputs <= MOST_OUTPUTS:
            raise ValueError(f"outputs is {self.outputs!r}, not from 1 to {MOST_OUTPUTS:,}")
        sizes = self.input_shape
        if not all(type(size) is int and size > 0 for size in sizes) or (
            math.prod(sizes) > MOST_INPUTS
        ):
            raise ValueError(f"input_shape is {sizes}, not of 1 to {MOST_INPUTS:,} values")
        if self.class_names is not None and len(self.class_names) != self.outputs:
            raise ValueError(f"{len(self.class_names)} class_names for {self.outputs} outputs")
        if self.costs is not None and len(self.costs) != self.stages:
            raise ValueError(f"figures of {len(self.costs)} stages for {self.stages} students")
        if not all(map(is_positive, np.diff([0, *(self.costs or (1,))]).tolist())):
            raise ValueError("streamed_flops must be positive and grow from stage to stage")
        if len(set(self.names)) != len(self.names):
            raise ValueError("two classes, labels or targets have one name")
        if self.class_type not in CLASS_TYPES:
            raise ValueError(f"class_type {self.class_type!r} is none of {CLASS_TYPES}")
        if self.class_type != "text":
            _ = self.classes  # refuses names that are none of that type
        if self.largest_pixel is not None and not is_positive(self.largest_pixel):
            raise ValueError(f"largest_pixel is {self.largest_pixel!r}, no positive number")
        temperatures = self.temperatures
        if len(temperatures) != self.stages:
            raise ValueError(f"{len(temperatures)} temperatures for {self.stages} students")

    @classmethod
    def of(cls, content: dict[str, Any]) -> Manifest:
        """From the content of ``config.json``."""
        check_types(content)
        names, columns, calibration = map(content.get, ("class_names", "columns", "calibration"))
        weights_hash = content.get("weights_hash")
        if "weights_hash" in content and not re.fullmatch("[0-9a-f]{64}", str(weights_hash)):
            raise ValueError(f"weights_hash is {weights_hash!r}, no SHA-256")
        return cls(
            name=content["name"],
            task=content["task"],
            input_shape=tuple(content["input_shape"]),
            outputs=content["outputs"],
            students=tuple(content["students"]),
            class_names=None if names is None else tuple(names),
            class_type=content.get("class_type", "text"),
            columns=None if columns is None else TableColumns.of(columns),
            form=content.get("form"),
            layout=content.get("layout"),
            figures=content.get("figures"),
            streamed_flops=tuple(content.get("streamed_flops") or ()),
            calibration=None if calibration is None else Calibration.of(calibration),
            weights_hash=weights_hash or "",
            largest_pixel=content.get("largest_pixel"),
        )

    @classmethod
    def read(cls, directory: Path) -> Manifest:
        """From a folder with ``config.json``.

        Raises:
            CheckpointError: if it is missing, damaged or of a newer format.
        """
        path = directory / CONFIG_FILE
        content = read_config(path)
        try:
            manifest = cls.of(content)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            if content.get(CONFIG_HASH) == hash_of_config(content):
                raise CheckpointError(
                    f"{path} is whole, but this version cannot read it ({error}); install the "
                    "bdistil that wrote it, or a newer one."
                ) from None
            raise CheckpointError(f"{path} is damaged: {error!r}.") from None
        check_config_hash(content, path)
        return manifest

    @property
    def stages(self) -> int:
        """T."""
        return len(self.students)

    @property
    def temperatures(self) -> tuple[float, ...]:
        """Of each stage, fitted on validation; ones if not known."""
        fitted = self.calibration.temperatures if self.calibration else ()
        return fitted or (1.0,) * self.stages

    @property
    def exits(self) -> tuple[OperatingPoint, ...]:
        """Operating points of early exit, measured on validation."""
        return self.calibration.exits if self.calibration else ()

    @property
    def costs(self) -> tuple[float, ...] | None:
        """FLOPs up to each stage, all stages before it answered; None if not known."""
        if self.figures is None:
            return self.streamed_flops or None
        return tuple(stage["streamed_flops"] for stage in self.figures["stages"])

    @property
    def regression(self) -> bool:
        """Whether answers are numbers."""
        return self.task == "regression"

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes, labels or targets; their numbers where they have no names."""
        if self.class_names is not None:
            return self.class_names
        targets = () if self.columns is None else self.columns.labels
        return targets if len(targets) == self.outputs else tuple(map(str, range(self.outputs)))

    @cached_property
    def classes(self) -> NDArray[Any]:
        """Labels of the classes, (L,), of the type that they had in the user's data.

        Raises:
            ValueError: if a name is no label of that type.
        """
        if self.class_type == "integer":
            return np.array([int(name) for name in self.names], np.int64)
        if self.class_type == "boolean":
            return np.array([bool(("False", "True").index(name)) for name in self.names])
        return np.array(self.names)

    def as_examples(self, x: Any) -> NDArray[np.float32]:
        """Raw examples float32 (B, ...) from an array, or from a table if trained on one.

        Raises:
            DataError: if they do not fit, or a value is missing, infinite or no number.
        """
        if (  # nothing is to be done, told in two microseconds
            type(x) is np.ndarray
            and x.dtype is FLOAT32  # of which numpy has one; equal others take the longer way
            and x.shape[1:] == self.input_shape
            and math.isfinite(np.vdot(x, x))  # a sum of squares, and so each term
        ):
            return x
        if self.columns is not None and (table := as_table(x)) is not None:
            x = self.columns.encode(table)
        if isinstance(x, list | tuple) and not x:
            return np.zeros((0, *self.input_shape), np.float32)
        if isinstance(x, str | PathLike) or not (hasattr(x, "__len__") or hasattr(x, "shape")):
            raise DataError(f"x is {_kind_of(x)}; give {self._wanted}.")
        if isinstance(x, Sequence) or hasattr(x, "dtype"):
            x = as_column(x)
            self._refuse_encoded(x)
        x = _channels_first(x, self.input_shape)
        self.check_shape(np.shape(x))
        return finite_numbers(x, "x", REMEDY)

    def note_scale(self, examples: NDArray[np.float32]) -> None:
        """Warn if images are not of the scale of training's, such as from 0 to 1 for 0 to 255."""
        largest = float(np.abs(examples).max(initial=0))
        if self.largest_pixel is not None and 0 < largest <= self.largest_pixel / RESCALED:
            warnings.warn(
                f"these images go up to {largest:.3g} in size, and those that {self.name!r} was "
                f"trained on up to {self.largest_pixel:g}; give pixels as they were in training.",
                BdistilWarning,
                stacklevel=2,
            )

    def _refuse_encoded(self, x: NDArray[Any]) -> None:
        """Refuse paths, bytes and structs of them, which somebody has to decode first."""
        if x.ndim == 1 and len(x) and isinstance(x[0], str | bytes | dict | PathLike):
            raise DataError(
                f"an example is of type {type(x[0]).__name__}; give {self._wanted}. Files are "
                "read and decoded by bdistil.read_examples(predictor, PATH)."
            )

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Refuse examples (B, ...) of another shape.

        Raises:
            DataError: if one has another shape than in training.
        """
        if tuple(shape[1:]) != self.input_shape:
            channels, *sides = self.input_shape
            if tuple(shape) in (self.input_shape, (*sides, channels)):
                raise DataError(
                    f"x has the shape of one example, {tuple(shape)}; give a batch, as x[None] is."
                )
            raise DataError(
                f"an example has shape {tuple(shape[1:])}, but {self.name!r} takes "
                f"{self.input_shape}; give {self._wanted}."
            )

    @property
    def _wanted(self) -> str:
        """What is to be given, in words."""
        return "a batch of such examples" + ("" if self.columns is None else ", or a table")

    def check_stage(self, stage: int) -> None:
        """Refuse a stage that is not there.

        Raises:
            DataError: naming those that are.
        """
        if type(stage) is bool or not isinstance(stage, int | np.integer):
            raise DataError(f"stages is {stage!r}, which is no number of students.")
        if not 1 <= stage <= self.stages:
            raise DataError(
                f"stages is {as_text(stage)}; {self.name!r} has stages 1 to {self.stages}."
            )

    def values(self, logits: NDArray[Any]) -> NDArray[Any]:
        """What logits (B, L) say: classes (B,), labels 0 and 1 or targets (B, L).

        Raises:
            DataError: if some are no numbers, as of examples beyond what float32 holds.
        """
        if not math.isfinite(np.vdot(logits, logits)):  # if it overflows, each is looked at
            bad = np.flatnonzero(~np.isfinite(logits).all(axis=1))
            if len(bad):
                raise DataError(
                    f"example {bad[0]} (counted from 0) is too large to be answered; scale or "
                    "correct its features."
                )
        if self.task == "classification":
            values: NDArray[Any] = self.classes[logits.argmax(1)]
            return values
        return logits if self.regression else (logits > 0).astype(np.int64)


def _kind_of(x: Any) -> str:
    """What is no batch, in words."""
    if isinstance(x, str | PathLike):
        return f"the path {str(x)!r}, which bdistil.read_examples or pandas would read"
    if isinstance(x, Iterator):
        return f"a {type(x).__name__}, which gives examples one by one"
    return f"{as_text(x)!r}" if x is None or isinstance(x, Real) else f"a {type(x).__name__}"


def _channels_first(x: Any, input_shape: tuple[int, ...]) -> Any:
    """Images (B, H, W) or (B, H, W, C) as (B, C, H, W), where that is what was trained on.

    So are they read in training (`data.layout`); other shapes stay as they are.
    """
    shape = np.shape(x)[1:]
    if len(input_shape) != 3 or shape == input_shape:
        return x
    channels, *sides = input_shape
    if channels == 1 and shape == (*sides,):
        return np.asarray(x)[:, None]
    return np.moveaxis(np.asarray(x), -1, 1) if shape == (*sides, channels) else x
