"""How the formats of one saved ensemble compare."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from bdistil.core.examples import metric
from bdistil.core.losses import Task
from bdistil.data.dataset import Split
from bdistil.deploy.predictor import Backend, Predictor


def accuracies(source: Path, backends: Sequence[Backend], examples: Split) -> list[list[float]]:
    """Accuracy (R² for regression) of each stage, for each backend."""
    truth = torch.as_tensor(examples.y)
    task: Task = "classification" if truth.ndim == 1 else "regression"
    return [
        [
            metric(torch.as_tensor(predictor.runner.straight(examples.x, stage)), truth, task)
            for stage in range(1, len(predictor) + 1)
        ]
        for predictor in (Predictor(source, backend=backend) for backend in backends)
    ]
