"""Whether 8 bits are worth it: accuracy and time beside those of float32."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bdistil.core.cost import timed_in_turns
from bdistil.core.examples import metric
from bdistil.names import Task
from bdistil.runtime.predictor import Predictor

MOST_LOST = 0.005
"""Of accuracy (micro F1, R²) at the last stage, beyond which 8 bits are not worth it."""
TURNS = 50  # of the calls that are timed


@dataclass(frozen=True)
class Worth:
    """What 8 bits cost and gain.

    Attributes:
        full: accuracy (micro F1, R²) of each stage with float32.
        int8: the same with 8 bits.
        seconds: of one example straight to the last stage, with float32 and with 8 bits.
    """

    full: Sequence[float]
    int8: Sequence[float]
    seconds: tuple[float, float]

    @property
    def fault(self) -> str | None:
        """Why they are not worth it, in words; None if they are."""
        lost = self.full[-1] - self.int8[-1]
        if lost > MOST_LOST:
            return f"they lose {lost:.4f} at the last stage, more than {MOST_LOST}"
        if self.seconds[1] >= self.seconds[0]:
            return "they are no faster here"
        return None


def worth_of_int8(source: Path, x: NDArray[np.float32], y: NDArray[Any], task: Task) -> Worth:
    """What the 8-bit graphs of a saved ensemble cost and gain, on raw examples."""
    predictors = [Predictor(source, backend=backend) for backend in ("onnx", "int8")]
    calls = [partial(each.runner.straight, x[:1], len(each)) for each in predictors]
    before, after = np.median(timed_in_turns(calls, repeats=TURNS), axis=0)
    full, int8 = (accuracies(each, x, y, task) for each in predictors)
    return Worth(full, int8, (float(before), float(after)))


def accuracies(
    predictor: Predictor, x: NDArray[np.float32], y: NDArray[Any], task: Task
) -> list[float]:
    """Accuracy (micro F1, R²) of each stage on raw examples."""
    truth = torch.as_tensor(y)
    stages = range(1, len(predictor) + 1)
    answers = (torch.as_tensor(predictor.runner.straight(x, stage)) for stage in stages)
    return [metric(each, truth, task) for each in answers]


def keep_if_worth(worth: Worth, directory: Path, insisted: bool) -> str:
    """Remove 8-bit graphs that are not worth it, unless they are insisted on; what became of them.

    Args:
        worth: what they cost and gain.
        directory: where they are.
        insisted: whether they stay in any case.
    """
    if worth.fault is None:
        return "kept"
    if insisted:
        return f"kept in spite of it: {worth.fault}"
    shutil.rmtree(directory)
    return f"not kept: {worth.fault}; --int8-anyway keeps them"
