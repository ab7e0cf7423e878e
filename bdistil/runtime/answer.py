"""What logits say: names of classes, calibrated probabilities, and how far each example went."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdistil.runtime.cascade import Cascade
from bdistil.runtime.confidence import no_or_yes, softmax
from bdistil.runtime.manifest import Manifest
from bdistil.runtime.runner import Progress

ONE = np.float32(1)


@dataclass(frozen=True)
class Answer:
    """Answers for a batch.

    Attributes:
        values: names of the classes (B,), labels 0 and 1, int64 (B, L), or predictions (B, L) for
            regression.
        probabilities: calibrated, float32 (B, L); None for regression.
        stages: students that each example was shown to, int (B,).
        asked: which examples the teacher answered, bool (B,); None if there is none to ask.
    """

    values: NDArray[Any]
    probabilities: NDArray[np.floating] | None
    stages: NDArray[np.intp]
    asked: NDArray[np.bool_] | None = None


def answered(
    manifest: Manifest, logits: NDArray[np.float32], stage: int | NDArray[np.intp]
) -> Answer:
    """The answer that logits give.

    Args:
        manifest: of the ensemble.
        logits: (B, L).
        stage: that they are from, or that each example reached, (B,).
    """
    values, temperatures = manifest.values(logits), manifest.temperatures
    stages = np.full(len(logits), stage, np.intp)
    if manifest.regression:
        return Answer(values, None, stages)
    temperature = (
        np.float32(temperatures[stage - 1])
        if isinstance(stage, int)
        else np.array(temperatures, np.float32)[stages - 1, None]
    )
    return Answer(values, _probabilities(manifest, logits, temperature), stages)


def with_teacher(
    manifest: Manifest, cascade: Cascade, examples: NDArray[np.float32], answer: Answer
) -> Answer:
    """The teacher's answers where the whole ensemble is not sure, the ensemble's elsewhere."""
    assert answer.probabilities is not None
    rows = cascade.unsure(answer.probabilities)
    rows = rows[answer.stages[rows] == manifest.stages]
    asked = np.zeros(len(examples), bool)
    asked[rows] = True
    if len(rows) == 0:
        return replace(answer, asked=asked)
    logits = cascade.ask(examples[rows])
    values, probabilities = answer.values.copy(), answer.probabilities.copy()
    values[rows] = manifest.values(logits)
    probabilities[rows] = _probabilities(manifest, logits)
    return Answer(values, probabilities, answer.stages, asked)


def seen_by_policies(manifest: Manifest, progress: Progress) -> NDArray[np.floating]:
    """Calibrated probabilities, of no and yes for several labels; predictions for regression."""
    logits, temperature = progress.logits, manifest.temperatures[progress.stage - 1]
    if manifest.regression:
        return logits
    return softmax(no_or_yes(logits) if _is_multilabel(manifest) else logits, temperature)


def _probabilities(
    manifest: Manifest, logits: NDArray[np.float32], temperature: Any = ONE
) -> NDArray[np.floating]:
    """Of logits (B, L), at one temperature or one for each example, (B, 1)."""
    if _is_multilabel(manifest):
        return softmax(no_or_yes(logits / temperature))[..., 1]
    return softmax(logits, temperature)


def _is_multilabel(manifest: Manifest) -> bool:
    return manifest.task == "multilabel"
