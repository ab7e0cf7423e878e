"""What the candidates of one round share."""

from __future__ import annotations

from dataclasses import dataclass

from bdistil.core.examples import Examples, Measure
from bdistil.core.training_split import TrainingSplit


@dataclass(frozen=True)
class Round:
    """All that the candidates of one round share.

    Attributes:
        train: the training split; the game is played on it.
        validation: the split that decides on gains.
        measure: the loss of the comparison.
        baseline: validation loss without a candidate: of the ensemble so far or, before round 1,
            of the best constant logits.
        baseline_metric: validation accuracy (R² for regression) of the same.
    """

    train: TrainingSplit
    validation: Examples
    measure: Measure
    baseline: float
    baseline_metric: float

    @classmethod
    def of(cls, train: TrainingSplit, validation: Examples, measure: Measure) -> Round:
        """The round with its baseline computed."""
        logits = validation.ensemble
        if train.stage == 1:
            constant = measure.best_constant(train.shards)
            logits = constant.to(logits.device).expand_as(logits)
        loss, metric = measure.loss(logits, validation), measure.accuracy(logits, validation)
        return cls(train, validation, measure, loss, metric)

    def gain(self, loss: float) -> float:
        """By how much a validation loss is below the one without a candidate, as a share of it."""
        return (self.baseline - loss) / max(self.baseline, 1e-12)
