"""Figures of many stages on many rows: one stage's answers at a time, each as it would be alone."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bdistil.core.scores import drawn_weights, scores
from bdistil.export.calibration import calibrate
from bdistil.export.score_figures import score_answers
from bdistil.runtime.confidence import fit_temperature

ROWS, OUTPUTS, STAGES = 80, 3, 6


class Watched:
    """Stages that are made when they are asked for, and count how many of them are kept."""

    def __init__(self) -> None:
        self.alive = self.most = 0

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        for stage in range(STAGES):
            yield self.counted(stage)

    def counted(self, stage: int) -> NDArray[np.float32]:
        made = answers(stage).view(Kept)
        self.alive += 1
        self.most = max(self.most, self.alive)
        weakref.finalize(made, self.gone)
        return made

    def gone(self) -> None:
        self.alive -= 1


class Kept(np.ndarray[Any, np.dtype[np.float32]]):
    """An array that can be watched."""


def answers(stage: int) -> NDArray[np.float32]:
    return np.random.default_rng(stage).normal(size=(ROWS, OUTPUTS)).astype(np.float32)


TRUTH = np.arange(ROWS) % OUTPUTS


def test_scores_hold_one_stage() -> None:
    watched = Watched()
    temperatures = [1.0] * (STAGES + 1)
    found = score_answers(answers(9), watched, TRUTH, "classification", temperatures, None)
    assert watched.most <= 2  # the one before goes when the next one is there
    weights = np.concatenate([np.ones((1, ROWS), np.float32), drawn_weights(ROWS)])
    for stage, figures in enumerate(found.stages):
        alone = scores(answers(stage), TRUTH, "classification", weights)
        for name, score in figures.scores.items():
            assert score.value == alone[name][0]


@pytest.mark.parametrize("task", ["classification", "multilabel"])
def test_calibration_keeps_probabilities_alone(task: Any) -> None:
    truth = TRUTH if task == "classification" else answers(7) > 0
    watched = Watched()
    found = calibrate(watched, truth, range(1, STAGES + 1), task)
    assert watched.most <= 2
    assert found == calibrate(list(map(answers, range(STAGES))), truth, range(1, STAGES + 1), task)
    if task == "classification":
        assert found.temperatures[2] == fit_temperature(answers(2), TRUTH)
