"""How the formats of one saved ensemble compare."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bdistil.core.examples import metric
from bdistil.export.onnx_quantise import Worth, seconds_straight
from bdistil.names import Task
from bdistil.runtime.predictor import Predictor


def worth_of_int8(source: Path, x: NDArray[np.float32], y: NDArray[Any], task: Task) -> Worth:
    """What the 8-bit graphs of a saved ensemble cost and gain, on raw examples."""
    backends = ("onnx", "int8")
    full, int8 = accuracies(source, backends, x, y, task)
    predictors = [Predictor(source, backend=backend) for backend in backends]
    runners = [predictor.runner for predictor in predictors]
    before, after = seconds_straight(runners, x[:1], len(predictors[0]))
    return Worth(full, int8, (before, after))


def accuracies(
    source: Path, backends: Sequence[str], x: NDArray[np.float32], y: NDArray[Any], task: Task
) -> list[list[float]]:
    """Accuracy (micro F1, R²) of each stage on raw examples, for each backend."""
    truth = torch.as_tensor(y)
    return [
        [
            metric(torch.as_tensor(predictor.runner.straight(x, stage)), truth, task)
            for stage in range(1, len(predictor) + 1)
        ]
        for predictor in (Predictor(source, backend=backend) for backend in backends)
    ]
