"""What more is said of answers on the test split: other measures, intervals, a table of classes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from bdistil.core.scores import class_scores, drawn_weights, scores
from bdistil.names import Task
from bdistil.runtime.confidence import Floats, fit_temperature, no_or_yes
from bdistil.runtime.product import log_factor, product_logits, share_turned_wrong

TAILS = (0.025, 0.975)


class Score(BaseModel):
    """A measure and its 95% bootstrap interval over test examples."""

    model_config = ConfigDict(frozen=True)

    value: float
    low: float
    high: float

    @property
    def half(self) -> float:
        """Half of the interval's width."""
        return (self.high - self.low) / 2

    @classmethod
    def of(cls, value: float, drawn: Floats) -> Score | None:
        """From the value on all examples and that of each repetition; None if it means nothing."""
        known = drawn[np.isfinite(drawn)]
        if not math.isfinite(value) or not len(known):
            return None
        low, high = np.quantile(known, TAILS)
        return cls(value=value, low=float(low), high=float(high))


class ClassFigures(BaseModel):
    """How the whole ensemble answers one class on the test split; None where undefined."""

    model_config = ConfigDict(frozen=True)

    name: str
    examples: int
    precision: float | None
    recall: float | None
    f1: float | None
    teacher_f1: float | None


class AnswerScores(BaseModel):
    """Every measure of one stage, or of the teacher, by name.

    Attributes:
        scores: probabilities are those of the temperature that was fitted on validation.
        of_teacher: the main measure over the teacher's, on the same examples drawn.
    """

    model_config = ConfigDict(frozen=True)

    scores: dict[str, Score]
    of_teacher: Score | None = None

    @property
    def main(self) -> Score | None:
        """The measure that stages are compared by, the first one."""
        return next(iter(self.scores.values()), None)


class Turning(BaseModel):
    """Answers that get worse with more time, on the test split.

    Attributes:
        share: of the examples that are right after some stage and wrong after a later one.
        product_share: the same where answers are products over the stages, see
            :mod:`bdistil.runtime.product`.
        product_metric: accuracy of these after each stage.
    """

    model_config = ConfigDict(frozen=True)

    share: float
    product_share: float
    product_metric: tuple[float, ...]

    def __str__(self) -> str:
        return (
            f"{self.share:.1%} of the test examples go from right to wrong with more time;\n"
            f"{self.product_share:.1%} with Predictor(..., product=True), whose last stage has "
            f"{self.product_metric[-1]:.4f}."
        )


class ScoreFigures(BaseModel):
    """Measures of teacher and stages, and each class's.

    Attributes:
        turning: None of other tasks than classification, and of runs before it was measured.
        groups: that intervals draw whole; None where they draw single examples.
    """

    model_config = ConfigDict(frozen=True)

    teacher: AnswerScores
    stages: tuple[AnswerScores, ...]
    classes: tuple[ClassFigures, ...] = ()
    turning: Turning | None = None
    groups: int | None = None

    @property
    def told_turning(self) -> str:
        """What more time spoils, in words; empty where that is not known or there is one stage."""
        return str(self.turning) if self.turning and len(self.stages) > 1 else ""

    @property
    def drawn(self) -> str:
        """What intervals draw, in words."""
        return "" if self.groups is None else f", drawn as {self.groups:,} whole groups"


def score_answers(
    teacher: Floats,
    stages: Iterable[Floats],
    truth: NDArray[Any],
    task: Task,
    temperatures: Sequence[float],
    class_names: Sequence[str] | None,
    groups: NDArray[np.int64] | None = None,
) -> ScoreFigures:
    """Measure the teacher and every stage.

    Args:
        teacher: logits (N, L) on the test split; for regression targets in the user's units.
        stages: likewise F_1, F_2, ..., of which one is held at a time.
        truth: class indices (N,), labels 0 and 1 or targets (N, L).
        task: what `truth` is.
        temperatures: of the teacher and of each stage.
        class_names: in index order.
        groups: of the examples (N,), which intervals draw whole; None draws single examples.
    """
    if groups is not None and len(np.unique(groups)) < 2:
        groups = None  # one alone cannot be drawn
    weights = drawn_weights(len(truth), groups=groups)
    weights = np.concatenate([np.ones((1, len(truth)), np.float32), weights])
    found: list[dict[str, Floats]] = []
    last = teacher
    measure = TurningMeasure(truth, len(temperatures) - 1) if task == "classification" else None
    for last, temperature in zip(chain([teacher], stages), temperatures, strict=True):
        if measure is not None and found:
            measure.add(last)
        found.append(scores(last, truth, task, weights, temperature))
    reference = next(iter(found[0].values()))
    figures = [_answer_scores(each, reference) for each in found]
    classes: tuple[ClassFigures, ...] = ()
    if task == "classification" and class_names is not None:
        classes = tuple(_class_figures(teacher, last, truth, class_names))
    turning = None if measure is None else measure.found()
    return ScoreFigures(
        teacher=figures[0],
        stages=tuple(figures[1:]),
        classes=classes,
        turning=turning,
        groups=None if groups is None else len(np.unique(groups)),
    )


class TurningMeasure:
    """Looks at one stage after another.

    Args:
        truth: class indices (N,).
        stages: how many there will be.
    """

    def __init__(self, truth: NDArray[Any], stages: int) -> None:
        self.truth, self.stages = truth, stages
        self.logs: Any = np.float32(0)
        self.right: list[NDArray[np.bool_]] = []
        self.product_right: list[NDArray[np.bool_]] = []

    def add(self, logits: Floats) -> None:
        """The next stage's logits (N, L)."""
        self.right.append(logits.argmax(axis=1) == self.truth)
        self.logs = self.logs + log_factor(logits, len(self.right), self.stages)
        product = product_logits(self.logs, logits)
        self.product_right.append(product.argmax(axis=1) == self.truth)

    def found(self) -> Turning:
        """What was measured."""
        return Turning(
            share=share_turned_wrong(np.stack(self.right)),
            product_share=share_turned_wrong(np.stack(self.product_right)),
            product_metric=tuple(float(right.mean()) for right in self.product_right),
        )


def _answer_scores(found: dict[str, Floats], reference: Floats) -> AnswerScores:
    named = {name: Score.of(float(each[0]), each[1:]) for name, each in found.items()}
    main = next(iter(found.values()))
    ratio = np.divide(main, reference, out=np.full(len(main), np.nan), where=reference > 0)
    return AnswerScores(
        scores={name: score for name, score in named.items() if score is not None},
        of_teacher=Score.of(float(ratio[0]), ratio[1:]),
    )


def _class_figures(
    teacher: Floats, last: Floats, truth: NDArray[Any], names: Sequence[str]
) -> list[ClassFigures]:
    def known(value: float) -> float | None:
        return value if math.isfinite(value) else None

    pairs = zip(names, class_scores(last, truth), class_scores(teacher, truth), strict=True)
    return [
        ClassFigures(
            name=name,
            examples=examples,
            precision=known(precision),
            recall=known(recall),
            f1=known(f1),
            teacher_f1=known(reference[3]),
        )
        for name, (examples, precision, recall, f1), reference in pairs
    ]


def fitted_temperature(logits: Floats, truth: NDArray[Any], task: Task) -> float:
    """The temperature with the least log loss; 1 for regression, which has none."""
    if task == "regression":
        return 1.0
    asked = logits if task == "classification" else no_or_yes(logits).reshape(-1, 2)
    return fit_temperature(asked, truth.reshape(-1).astype(np.int64))
