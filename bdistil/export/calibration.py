"""Fitted on the validation split once the students are fixed: how sure, and when to stop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from bdistil.core.examples import metric
from bdistil.names import Task
from bdistil.runtime.confidence import (
    expected_calibration_error,
    fit_temperature,
    no_or_yes,
    softmax,
)
from bdistil.runtime.exits import FOR_REGRESSION, SCORES, Floats, OperatingPoint, operating_points


class ExitPoint(BaseModel):
    """An :class:`~bdistil.runtime.exits.OperatingPoint` as JSON; without threshold, all stay."""

    model_config = ConfigDict(frozen=True)

    score: str
    threshold: float | None
    metric: float
    cost: float
    stages: float
    doubt: float = 0.0

    @classmethod
    def of(cls, point: OperatingPoint) -> ExitPoint:
        """From a point."""
        threshold = point.policy.threshold
        return cls(
            score=point.policy.score,
            threshold=threshold if math.isfinite(threshold) else None,
            metric=point.metric,
            cost=point.cost,
            stages=point.stages,
            doubt=point.doubt,
        )


class Calibration(BaseModel):
    """Fitted on the validation split.

    Attributes:
        temperatures: τ of each stage, the same for all labels; empty for regression.
        error_before: expected calibration error of each stage at τ = 1.
        error: the same at the fitted τ.
        exits: operating points of early exit, worth keeping: each is better than all cheaper ones,
            in its metric or in what is assured of it.
    """

    model_config = ConfigDict(frozen=True)

    temperatures: tuple[float, ...] = ()
    error_before: tuple[float, ...] = ()
    error: tuple[float, ...] = ()
    exits: tuple[ExitPoint, ...] = ()

    def truncated(self, stages: int) -> Calibration:
        """Of the first `stages` stages; their early exits would have to be measured anew."""
        return Calibration(
            temperatures=self.temperatures[:stages],
            error_before=self.error_before[:stages],
            error=self.error[:stages],
        )


def calibrate(
    logits: Sequence[NDArray[np.float32]],
    truth: NDArray[Any],
    costs: Sequence[float],
    task: Task = "classification",
) -> Calibration:
    """Fit temperatures and measure early exits.

    Args:
        logits: F_1, F_2, ... on validation examples, (N, L) each.
        truth: class indices (N,), or targets or labels 0 and 1 (N, L).
        costs: FLOPs up to each stage, all stages before it answered.
        task: what `truth` is. Each label counts as a question of two classes, no and yes.
    """
    if task == "regression":
        return Calibration(exits=_exits(FOR_REGRESSION, logits, truth, costs, task))
    trace = logits if task == "classification" else [no_or_yes(stage) for stage in logits]
    asked = [stage.reshape(-1, stage.shape[-1]) for stage in trace]  # one question a row
    labels = truth.reshape(-1).astype(np.int64)
    temperatures = [fit_temperature(stage, labels) for stage in asked]

    def error(stage: Floats, temperature: float = 1.0) -> float:
        return expected_calibration_error(softmax(stage, temperature), labels)

    fitted = [softmax(stage, t) for stage, t in zip(trace, temperatures, strict=True)]
    return Calibration(
        temperatures=tuple(temperatures),
        error_before=tuple(map(error, asked)),
        error=tuple(map(error, asked, temperatures)),
        exits=_exits(tuple(SCORES), fitted, truth, costs, task),
    )


def _exits(
    scores: Sequence[str],
    trace: Sequence[Floats],
    truth: NDArray[Any],
    costs: Sequence[float],
    task: Task,
) -> tuple[ExitPoint, ...]:
    known = torch.as_tensor(truth)

    def score_of(answers: Floats, rows: NDArray[np.intp]) -> float:
        if task == "multilabel":
            answers = answers[..., 1] - answers[..., 0]  # above 0 as the logit is
        return metric(torch.as_tensor(answers), known[torch.as_tensor(rows)], task)

    points = [_front(operating_points(score, trace, score_of, costs)) for score in scores]
    return tuple(ExitPoint.of(point) for front in points for point in front)


def _front(points: Sequence[OperatingPoint]) -> list[OperatingPoint]:
    """Points that are better than all cheaper ones, and the one that never leaves early."""
    front: list[OperatingPoint] = []
    best = assured = -math.inf
    for point in sorted(points, key=lambda p: (p.cost, -p.metric)):
        if point.metric > best or point.assured > assured or math.isinf(point.policy.threshold):
            front.append(point)
        best, assured = max(best, point.metric), max(assured, point.assured)
    return front
