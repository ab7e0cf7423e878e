"""Early exits measured on labelled examples of the caller's, which chose nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdistil.errors import DataError, SpecError
from bdistil.runtime.choice import costs_of
from bdistil.runtime.exits import SCORES, Floats, OperatingPoint, operating_points
from bdistil.runtime.manifest import Manifest


def exits_on(manifest: Manifest, trace: Sequence[Floats], y: Any) -> tuple[OperatingPoint, ...]:
    """What every early exit does on examples of known classes.

    Args:
        manifest: of the ensemble.
        trace: calibrated probabilities of each stage, (N, L).
        y: labels of the classes (N,).

    Raises:
        DataError: if there is no label for each example, or a label is of no class.
        SpecError: if the task is no classification.
    """
    if manifest.task != "classification":
        raise SpecError(
            f"on=(x, y) takes classes, and the task of {manifest.name!r} is {manifest.task}; leave "
            "on out, so that the points are those of the validation split."
        )
    truth, rows = np.asarray(y), len(trace[0])
    if truth.shape != (rows,) or rows == 0:
        raise DataError(f"y has shape {truth.shape}; give a label for each of the {rows} examples.")
    unknown = truth[~np.isin(truth, manifest.classes)]
    if len(unknown):
        raise DataError(
            f"y holds {unknown[:1].tolist()[0]!r}, none of the classes {manifest.classes.tolist()}."
        )

    def right(answers: Floats, some: NDArray[np.intp]) -> float:
        return float((manifest.classes[answers.argmax(axis=1)] == truth[some]).mean())

    costs = costs_of(manifest)
    return tuple(p for score in SCORES for p in operating_points(score, trace, right, costs))
