"""What goes into a saved ensemble and what comes out: as any backend and the export see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdistil.errors import DataError
from bdistil.runtime.columns import TableColumns, is_table
from bdistil.runtime.exits import OperatingPoint
from bdistil.runtime.values import finite_numbers

REMEDY = "correct these values or leave the examples out"


@dataclass(frozen=True)
class Calibration:
    """Fitted on the validation split.

    Attributes:
        temperatures: τ of each stage, the same for all labels; empty for regression.
        error_before: expected calibration error of each stage at τ = 1.
        error: the same at the fitted τ.
        exits: operating points of early exit, worth keeping: each is better than all cheaper ones,
            in its metric or in what is assured of it.
    """

    temperatures: tuple[float, ...] = ()
    error_before: tuple[float, ...] = ()
    error: tuple[float, ...] = ()
    exits: tuple[OperatingPoint, ...] = ()

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Calibration:
        """From JSON."""
        known = {field.name: tuple(content.get(field.name, ())) for field in fields(cls)}
        return cls(**known | {"exits": tuple(OperatingPoint(**point) for point in known["exits"])})

    def truncated(self, stages: int) -> Calibration:
        """Of the first `stages` stages; their early exits would have to be measured anew."""
        return Calibration(
            self.temperatures[:stages], self.error_before[:stages], self.error[:stages]
        )


@dataclass(frozen=True, kw_only=True)
class Signature:
    """What goes in and what comes out.

    Attributes:
        name: of the ensemble.
        task: classification, multilabel or regression.
        input_shape: shape of one raw example.
        outputs: L, the number of classes, labels or targets.
        class_names: the classes or labels as the user wrote them; None for regression.
        columns: how a table's columns become features; None if features come as arrays.
        calibration: temperatures and early exits, fitted on the validation split.
    """

    name: str
    task: str
    input_shape: tuple[int, ...]
    outputs: int
    class_names: tuple[str, ...] | None = None
    columns: TableColumns | None = None
    calibration: Calibration | None = None

    def __post_init__(self) -> None:
        if self.class_names is not None and len(self.class_names) != self.outputs:
            raise ValueError(f"{len(self.class_names)} class_names for {self.outputs} outputs")

    @property
    def regression(self) -> bool:
        """Whether answers are numbers."""
        return self.task == "regression"

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes, labels or targets; their numbers where they have no names."""
        targets = () if self.columns is None else self.columns.labels
        numbers = tuple(map(str, range(self.outputs)))
        return self.class_names or (targets if len(targets) == self.outputs else numbers)

    def as_examples(self, x: Any) -> NDArray[np.float32]:
        """Raw examples float32 (B, ...) from an array, or from a table if trained on one.

        Raises:
            DataError: if they do not fit, or a value is missing, infinite or no number.
        """
        if self.columns is not None and is_table(x):
            x = self.columns.encode(x)
        self.check_shape(np.shape(x))
        return finite_numbers(x, "x", REMEDY)

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Refuse examples (B, ...) of another shape.

        Raises:
            DataError: if one has another shape than in training.
        """
        if tuple(shape[1:]) != self.input_shape:
            or_table = "" if self.columns is None else ", or a table"
            raise DataError(
                f"an example has shape {tuple(shape[1:])}, but {self.name!r} takes "
                f"{self.input_shape}; give a batch of such examples{or_table}."
            )

    def values(self, logits: NDArray[Any]) -> NDArray[Any]:
        """What logits (B, L) say: classes by name (B,), labels 0 and 1 or targets (B, L)."""
        if self.regression:
            return logits
        if self.task == "multilabel":
            return (logits > 0).astype(np.int64)
        values: NDArray[Any] = np.array(self.names)[logits.argmax(axis=1)]
        return values
