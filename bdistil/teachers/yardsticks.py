"""How good a teacher is beside guessing, and beside boosted trees on the same rows."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdistil.core.examples import metric
from bdistil.core.tensors import as_tensor
from bdistil.data.dataset import Dataset, Split
from bdistil.data.split import evenly_spread
from bdistil.data.standardise import TargetScale
from bdistil.errors import BdistilWarning
from bdistil.optional import require
from bdistil.teachers.guess import best_guess
from bdistil.teachers.teacher_store import Logits

WORK = 3e8  # rows times features times trees, about two seconds of one core, ...
MOST_TREES = 2000  # ... as are so many trees of few rows
ITERATIONS, FEWEST_ITERATIONS = 100, 50  # of boosting; 100 is scikit-learn's own number
FEWEST_ROWS = 1000  # to train on, if the data have as many
MOST_ROWS = 20_000
ERRORS = 2.0  # standard errors by which trees must be better

REMEDIES: dict[str, str] = {
    "trained": "teacher.lr and teacher.epochs, or try another teacher.model",
    "columns": "the order of teacher.columns",
}


def warn_if_worse_than_guessing(kind: str, dataset: Dataset, logits: Logits) -> None:
    """Say so if the teacher knows no more than who always gives the best constant answer.

    Both are counted by the examples' weights, if they have any. A share of right answers must be
    two standard errors above the guess's to be told from it.
    """
    weights = dataset.validation.weights
    guess = best_guess(dataset.validation.y, dataset.task, weights)
    reached = metric_of(dataset, "validation", logits, weights)
    doubt = 0.0
    if dataset.task == "classification":
        doubt = 2 * math.sqrt(guess * (1 - guess) / len(dataset.validation))
    if reached < guess + doubt:
        is_below = f"below the {guess:.4f}"
        if reached >= guess:
            is_below = f"which {len(dataset.validation)} examples cannot tell from the {guess:.4f}"
        answer = "the mean" if dataset.task == "regression" else "the commonest answer"
        remedy = REMEDIES.get(kind, "teacher.inputs, and the order of the model's outputs")
        if dataset.task == "classification" and reached >= guess:
            remedy += ", or judge by goal.metric=auc, which a common class does not lift"
        warnings.warn(
            f"the teacher's validation metric is {reached:.4f}, {is_below} "
            f"of always giving {answer}; check {remedy}.",
            BdistilWarning,
            stacklevel=2,
        )


def warn_if_trees_are_better(dataset: Dataset, logits: Logits) -> None:
    """Say so if boosted trees know clearly more than a teacher that nobody chose.

    Networks read numbers smoothly: where the label hangs on exact values, as of identifiers, trees
    find it and a network does not. scikit-learn's trees are fitted to as many training rows, in as
    many iterations, as take a few seconds; not at all if that is too few, as of many classes.
    """
    trees = dataset.outputs if dataset.task == "classification" and dataset.outputs > 2 else 1
    iterations = min(ITERATIONS, MOST_TREES // trees)
    work = max(1, iterations) * trees * dataset.train.x.shape[1]
    rows = min(len(dataset.train), MOST_ROWS, int(WORK / work))
    if rows < min(FEWEST_ROWS, len(dataset.train)) or iterations < FEWEST_ITERATIONS:
        return
    train = dataset.train.take(evenly_spread(len(dataset.train), rows))
    asked = evenly_spread(len(dataset.validation), MOST_ROWS)
    validation, ours = dataset.validation.take(asked), logits["validation"][asked]
    if min(len(np.unique(split.y)) for split in (train, validation)) < 2:  # of a rare class
        return
    boosting = _fitted_trees(dataset, train, iterations)
    if dataset.task == "classification":
        name = "HistGradientBoostingClassifier"
        theirs = boosting.predict(validation.x)
        hits = theirs == validation.y, ours.argmax(axis=1) == validation.y
        gains = hits[0].astype(float) - hits[1]
        figures = [hit.mean() for hit in hits]
    else:
        name = "HistGradientBoostingRegressor"
        truth = TargetScale.of(dataset).standardise(validation.y)[:, 0]
        misses = np.square(truth - boosting.predict(validation.x)), np.square(truth - ours[:, 0])
        gains = misses[1] - misses[0]
        figures = [1 - miss.mean() / truth.var() for miss in misses]
    if gains.mean() > ERRORS * gains.std() / math.sqrt(len(gains)):
        warnings.warn(
            f"boosted trees as they come have {figures[0]:.4f} on validation, this teacher "
            f"{figures[1]:.4f}: trees find what hangs on exact values; see whether these will be "
            f"known of new rows, or teach by trees (teacher.model=sklearn.ensemble:{name}).",
            BdistilWarning,
            stacklevel=2,
        )


def has_yardstick(dataset: Dataset) -> bool:
    """Whether trees can be asked: a table with one label."""
    one = dataset.task == "classification" or (
        dataset.task == "regression" and dataset.outputs == 1
    )
    return dataset.domain == "tabular" and one


def _fitted_trees(dataset: Dataset, train: Split, iterations: int) -> Any:
    ensemble = require("sklearn.ensemble", "search")
    # To stop early it would want two rows of each class at least.
    options = {"random_state": 0, "max_iter": iterations, "early_stopping": False}
    if dataset.task == "classification":
        trees, y = ensemble.HistGradientBoostingClassifier(**options), train.y
    else:
        trees = ensemble.HistGradientBoostingRegressor(**options)
        y = TargetScale.of(dataset).standardise(train.y)[:, 0]
    return trees.fit(train.x, y, sample_weight=train.weights)


def metric_of(
    dataset: Dataset, split: str, logits: Logits, weights: NDArray[np.float32] | None = None
) -> float:
    """Accuracy, micro F1 or R² of the teacher on a split."""
    truth = as_tensor(TargetScale.of(dataset).standardise(getattr(dataset, split).y))
    each = None if weights is None else as_tensor(weights)
    return metric(as_tensor(logits[split]), truth, dataset.task, each)
