"""An ensemble cut into modules of tensors alone, as exporters want them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bdistil.core.connections import Hidden
from bdistil.core.progressive_ensemble import step
from bdistil.core.student import Student
from bdistil.errors import CheckpointError
from bdistil.export.ensemble import Ensemble
from bdistil.export.stacking import aligned
from bdistil.names import Stacking
from bdistil.runtime.onnx_runner import INPUT, LOGITS

LARGEST_DIFFERENCE = 1e-4
"""Of an export from the ensemble, in a logit; where a row's logits are above 1, of the largest."""

BATCH = 2  # of the examples that are traced; the graphs take any


class StageGraph(nn.Module):
    """One stage: raw features (B, ...), F_{t-1} (B, L) and cached activations in, F_t out.

    Args:
        ensemble: with the stage.
        stage: t.
        way: ``aligned`` if its body's channels are to be filled up; else it runs as it is.

    Attributes:
        inputs: names of the inputs, in order.
        outputs: names of the outputs, in order; F_t is called apart from the F_{t-1} that comes in.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, ensemble: Ensemble, stage: int, way: Stacking = "none") -> None:
        super().__init__()
        self.register_buffer("shift", ensemble.shift)
        self.register_buffer("scale", ensemble.scale)
        *earlier, self.student = list(ensemble)[:stage]
        if way == "aligned":
            example = ensemble.shift.new_zeros(1, *ensemble.config.input_shape)
            self.student = aligned(self.student, example)
        self.cached = [activations(s, student) for s, student in enumerate(earlier, start=1)]
        self.stage = stage
        self.inputs = [INPUT, LOGITS, *(name for names in self.cached for name in names)]
        self.outputs = [f"next_{LOGITS}", *activations(stage, self.student)]

    def forward(self, x: Tensor, logits: Tensor, *cached: Tensor) -> tuple[Tensor, ...]:
        """F_t, float (B, L), and the student's activations."""
        rest = iter(cached)
        earlier = [Hidden(*(next(rest) for _ in names)) for names in self.cached]
        scaled = (x - self.shift) / self.scale
        after, hidden = step(self.student, scaled, earlier, logits, self.stage)
        return after, *(tensor for tensor in hidden if tensor is not None)


def activations(stage: int, student: Student) -> list[str]:
    """Names of what a student leaves to its successors."""
    memory = [f"memory_{stage}"] if student.config.connection == "lstm" else []
    return [f"hidden_{stage}", *memory]


class PrefixGraph(nn.Module):
    """Raw features (B, ...) to F_k, with folded heads."""

    shift: Tensor
    scale: Tensor
    inputs = (INPUT,)
    outputs = (LOGITS,)

    def __init__(self, ensemble: Ensemble, stage: int) -> None:
        super().__init__()
        self.register_buffer("shift", ensemble.shift)
        self.register_buffer("scale", ensemble.scale)
        self.prefix = ensemble.prefix(stage)

    def forward(self, x: Tensor) -> Tensor:
        """F_k, float (B, L)."""
        logits: Tensor = self.prefix((x - self.shift) / self.scale)
        return logits


@torch.no_grad()
def stage_inputs(ensemble: Ensemble, examples: NDArray[np.float32]) -> Iterator[list[Tensor]]:
    """Example inputs of each stage's graph."""
    x = torch.as_tensor(examples, dtype=torch.float32)
    logits = torch.zeros(len(x), ensemble.outputs)
    cached: list[Tensor] = []
    for stage in range(1, len(ensemble) + 1):
        yield [x, logits, *cached]
        logits, *own = StageGraph(ensemble, stage)(x, logits, *cached)
        cached += own


def tensors_of(outputs: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
    """A graph's outputs, one or several, as a tuple."""
    return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)


def difference_of(given: Any, expected: Any) -> float:
    """The largest difference of a number, over the largest one of its row where that is above 1.

    Args:
        given: array or tensor (B, ...).
        expected: likewise; of what far outliers lead to, single precision keeps six digits.
    """
    mine, other = (np.asarray(each).reshape(len(each), -1) for each in (given, expected))
    largest = np.abs(other).max(axis=1, initial=1.0, keepdims=True)
    return float((np.abs(mine - other) / largest).max(initial=0.0))


def checked(
    path: Path, pairs: Iterable[tuple[Tensor | Sequence[Tensor], Tensor | Sequence[Tensor]]]
) -> float:
    """The largest difference between what a program gave and what it should have given.

    Args:
        path: of the program.
        pairs: both sides' outputs for the same inputs.

    Raises:
        CheckpointError: if it is above :data:`LARGEST_DIFFERENCE`; the file is removed.
    """
    difference = max(
        difference_of(mine, other)
        for given, expected in pairs
        for mine, other in zip(tensors_of(given), tensors_of(expected), strict=True)
    )
    if not difference <= LARGEST_DIFFERENCE:
        path.unlink()
        raise CheckpointError(
            f"{path}: the program differs from the ensemble by {difference:.2g}, more than "
            f"{LARGEST_DIFFERENCE:g}; please report this with the ensemble's config.json."
        )
    return difference


def any_batch(inputs: Sequence[Tensor]) -> tuple[Any, ...]:
    """The exporters' word for inputs whose first dimension may have any size."""
    batch = {0: torch.export.Dim.DYNAMIC}
    named = tuple(batch for _ in inputs[:2])
    cached = tuple(batch for _ in inputs[2:])  # torch wants what *args holds as one tuple
    return (*named, cached) if cached else named
