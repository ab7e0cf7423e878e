"""What else answers the same question: scikit-learn's models on a table, single students."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdistil.data.dataset import Dataset
from bdistil.optional import require
from bdistil.searching.result import SearchResult
from bdistil.words import counted

MOST_ROWS = 100_000  # of the training split, that a peer is fitted on


@dataclass(frozen=True)
class Peer:
    """A model that is no part of the run.

    Attributes:
        name: of the model.
        metric: accuracy (or R²) on the test split.
        call: answers raw features, float32 (B, ...).
        runtime: what computes it.
    """

    name: str
    metric: float
    call: Callable[[NDArray[np.float32]], object]
    runtime: str = "scikit-learn"


def why_no_peers(dataset: Dataset) -> str:
    """Why scikit-learn's models are not asked; empty if they are."""
    if dataset.domain != "tabular":
        return (
            f"scikit-learn's models are for tables, and the examples are of kind {dataset.domain}"
        )
    if dataset.task == "multilabel" or (dataset.task == "regression" and dataset.outputs > 1):
        return "scikit-learn's models answer one label or target, and there are several"
    return ""


def scikit_peers(dataset: Dataset, say: Callable[[str], None]) -> list[Peer]:
    """A linear model and histogram boosting with their defaults, fitted on the training split.

    Args:
        dataset: a table with one label or target.
        say: is told what takes time.
    """
    ensemble, linear, pipeline, scaling = (
        require(f"sklearn.{part}", "search")
        for part in ("ensemble", "linear_model", "pipeline", "preprocessing")
    )
    if dataset.task == "regression":
        models = {
            "ridge regression": linear.Ridge(),
            "histogram boosting": ensemble.HistGradientBoostingRegressor(random_state=0),
        }
    else:
        models = {
            "logistic regression": linear.LogisticRegression(max_iter=1000),
            "histogram boosting": ensemble.HistGradientBoostingClassifier(random_state=0),
        }
    train, test = dataset.train, dataset.test
    rows = slice(0, MOST_ROWS)
    found = []
    for name, model in models.items():
        say(f"fitting scikit-learn's {name} on {len(train.x[rows]):,} training examples")
        if name != "histogram boosting":
            model = pipeline.make_pipeline(scaling.StandardScaler(), model)
        model.fit(train.x[rows], one_column(train.y[rows]))
        metric = float(model.score(test.x, one_column(test.y)))
        found.append(Peer(name, metric, model.predict))
    return found


def one_column(truth: NDArray[Any]) -> NDArray[Any]:
    """Labels, or one target, as (N,)."""
    return truth.reshape(len(truth))


def single_student(result: SearchResult) -> str:
    """What single students of this search reached: the candidates of the first round."""
    first, *_, last = [*result.rounds, result.rounds[-1]]
    best = max(first.compared, key=lambda trial: trial.metric)
    reached = [r.round for r in result.rounds if r.result.metric <= best.metric]
    kept = best.request.number == first.result.request.number
    timed = "it is stage 1 above" if kept else "the weights of that candidate were not kept"
    equal = max(reached, default=0)
    there = f"; the last stage has {last.result.metric:.4f} there" if len(result.rounds) > 1 else ""
    return (
        f"single students: the best of {counted(len(first.compared), 'candidate')} of round 1 "
        f"(width {best.width}) has {best.metric:.4f} on validation, "
        + (f"at least as much as stage {equal}" if equal else "less than any stage")
        + f"{there}; {timed}. --single-student trains one that is as dear as the last stage."
    )
