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
from bdistil.core.losses import Task
from bdistil.deploy.confidence import expected_calibration_error, fit_temperature, softmax
from bdistil.deploy.exits import FOR_REGRESSION, SCORES, Floats, OperatingPoint, operating_points


class ExitPoint(BaseModel):
    """An :class:`~bdistil.deploy.exits.OperatingPoint` as JSON; no threshold never leaves early."""

    model_config = ConfigDict(frozen=True)

    score: str
    threshold: float | None
    metric: float
    cost: float
    stages: float

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
        )


class Calibration(BaseModel):
    """Fitted on the validation split.

    Attributes:
        temperatures: τ of each stage; empty for regression.
        error_before: expected calibration error of each stage at τ = 1.
        error: the same at the fitted τ.
        exits: operating points of early exit, worth keeping: each is better than all cheaper ones.
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
) -> Calibration:
    """Fit temperatures and measure early exits.

    Args:
        logits: F_1, F_2, ... on validation examples, (N, L) each.
        truth: class indices (N,), or targets (N, L) for regression.
        costs: FLOPs up to each stage, all stages before it answered.
    """
    if truth.ndim > 1:
        return Calibration(exits=_exits(FOR_REGRESSION, logits, truth, costs))
    temperatures = [fit_temperature(stage, truth) for stage in logits]
    plain = [softmax(stage) for stage in logits]
    fitted = [softmax(stage, t) for stage, t in zip(logits, temperatures, strict=True)]
    return Calibration(
        temperatures=tuple(temperatures),
        error_before=tuple(expected_calibration_error(p, truth) for p in plain),
        error=tuple(expected_calibration_error(p, truth) for p in fitted),
        exits=_exits(tuple(SCORES), fitted, truth, costs),
    )


def _exits(
    scores: Sequence[str],
    trace: Sequence[Floats],
    truth: NDArray[Any],
    costs: Sequence[float],
) -> tuple[ExitPoint, ...]:
    task: Task = "classification" if truth.ndim == 1 else "regression"
    known = torch.as_tensor(truth)

    def score_of(answers: Floats) -> float:
        return metric(torch.as_tensor(answers), known, task)

    points = [_front(operating_points(score, trace, score_of, costs)) for score in scores]
    return tuple(ExitPoint.of(point) for front in points for point in front)


def _front(points: Sequence[OperatingPoint]) -> list[OperatingPoint]:
    """Points with a better metric than all cheaper ones, and the one that never leaves early."""
    front: list[OperatingPoint] = []
    for point in sorted(points, key=lambda p: (p.cost, -p.metric)):
        if not front or point.metric > front[-1].metric or math.isinf(point.policy.threshold):
            front.append(point)
    return front
