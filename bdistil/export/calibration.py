"""Fitted on the validation split once the students are fixed: how sure, and when to stop."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bdistil.core.examples import metric
from bdistil.names import Task
from bdistil.runtime.calibration import Calibration
from bdistil.runtime.confidence import (
    expected_calibration_error,
    fit_temperature,
    no_or_yes,
    softmax,
)
from bdistil.runtime.exits import FOR_REGRESSION, SCORES, Floats, OperatingPoint, operating_points


def calibrate(
    logits: Iterable[NDArray[np.float32]],
    truth: NDArray[Any],
    costs: Sequence[float],
    task: Task = "classification",
    teacher: NDArray[np.float32] | None = None,
) -> Calibration:
    """Fit temperatures, and measure early exits and asking the teacher as the last stage.

    Args:
        logits: F_1, F_2, ... on validation examples, (N, L) each; taken one by one.
        truth: class indices (N,), or targets or labels 0 and 1 (N, L).
        costs: FLOPs up to each stage, all stages before it answered.
        task: what `truth` is. Each label counts as a question of two classes, no and yes.
        teacher: its logits on the same examples, if they are known.
    """
    if task == "regression":
        return Calibration(exits=_exits(FOR_REGRESSION, list(logits), truth, costs, task))
    labels = truth.reshape(-1).astype(np.int64)

    def asked(stage: Floats) -> Floats:  # one question a row
        return stage.reshape(-1, stage.shape[-1])

    temperatures, before, after, fitted = [], [], [], []
    for stage in logits:
        seen = stage if task == "classification" else no_or_yes(stage)
        temperatures.append(fit_temperature(asked(seen), labels))
        before.append(expected_calibration_error(asked(softmax(seen)), labels))
        fitted.append(softmax(seen, temperatures[-1]))
        after.append(expected_calibration_error(asked(fitted[-1]), labels))
    asks: tuple[OperatingPoint, ...] = ()
    teacher_temperature = 1.0
    if teacher is not None:
        seen = teacher if task == "classification" else no_or_yes(teacher)
        teacher_temperature = fit_temperature(asked(seen), labels)
        pair = (fitted[-1], softmax(seen, teacher_temperature))
        asks = _exits(("confidence",), pair, truth, (0.0, 1.0), task)
    return Calibration(
        temperatures=tuple(temperatures),
        error_before=tuple(before),
        error=tuple(after),
        exits=_exits(tuple(SCORES), fitted, truth, costs, task),
        asks=asks,
        teacher_temperature=teacher_temperature,
    )


def _exits(
    scores: Sequence[str],
    trace: Sequence[Floats],
    truth: NDArray[Any],
    costs: Sequence[float],
    task: Task,
) -> tuple[OperatingPoint, ...]:
    known = torch.as_tensor(truth)

    def score_of(answers: Floats, rows: NDArray[np.intp]) -> float:
        if task == "multilabel":
            answers = answers[..., 1] - answers[..., 0]  # above 0 as the logit is
        return metric(torch.as_tensor(answers), known[torch.as_tensor(rows)], task)

    return tuple(p for score in scores for p in operating_points(score, trace, score_of, costs))
