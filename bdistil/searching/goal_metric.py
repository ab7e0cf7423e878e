"""Goals by another metric than the task's own: balanced accuracy, macro F1, AUC."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bdistil.core.gathering import Gathered
from bdistil.core.progressive_ensemble import ProgressiveEnsemble, chunks
from bdistil.core.scores import Floats, drawn_weights, scores
from bdistil.core.tensors import as_tensor
from bdistil.errors import SpecError
from bdistil.names import GOAL_METRICS, GoalMetric, Task
from bdistil.searching.problem import Problem


def check_metric(metric: GoalMetric | None, task: Task) -> None:
    """Refuse a metric that the task has not.

    Raises:
        SpecError: naming those that it has.
    """
    own = [name for name, (_, tasks) in GOAL_METRICS.items() if task in tasks]
    if metric is not None and metric not in own:
        remedy = f"choose {' or '.join(own)}" if own else "remove it: R² it is"
        raise SpecError(f"goal.metric is {metric!r}, which {task} has not; {remedy}.")


def teacher_score(
    logits: Floats,
    truth: NDArray[Any],
    task: Task,
    metric: GoalMetric,
    groups: NDArray[np.int64] | None = None,
) -> tuple[float, float]:
    """A metric of a teacher's logits (N, L), and its standard error by bootstrap.

    Args:
        logits: of N examples.
        truth: class indices (N,), or labels 0 and 1 (N, L).
        task: what `truth` is.
        metric: one that the task has.
        groups: of the examples (N,), which are drawn whole; None draws single examples.
    """
    drawn = drawn_weights(len(truth), groups=groups)
    weights = np.concatenate([np.ones((1, len(truth)), np.float32), drawn])
    found = scores(np.asarray(logits), truth, task, weights)[GOAL_METRICS[metric][0]]
    return float(found[0]), float(np.nanstd(found[1:]))


@torch.no_grad()
def stage_score(ensemble: ProgressiveEnsemble, problem: Problem, metric: GoalMetric) -> float:
    """A metric of the whole ensemble on the validation split."""
    validation = problem.validation
    inputs = as_tensor(validation.inputs)
    gathered = Gathered(len(inputs))
    for rows in chunks(len(inputs)):
        gathered.add(ensemble(inputs[rows]))
    logits = gathered.tensor.numpy()
    once = np.ones((1, len(logits)), np.float32)
    found = scores(logits, validation.labels, problem.task, once)[GOAL_METRICS[metric][0]]
    return float(found[0])
