"""Measures and their intervals against scikit-learn's and scipy's."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from bdistil.core.scores import class_scores, drawn_weights, scores
from bdistil.runtime.confidence import fit_temperature


def ones(examples: int) -> np.ndarray:
    return np.ones((1, examples), np.float32)


def by_draws(weights: np.ndarray) -> np.ndarray:
    """Rows that a repetition draws, each as often as it does."""
    return np.repeat(np.arange(len(weights)), weights.astype(int))


def classes_by_sklearn(logits: np.ndarray, truth: np.ndarray, temperature: float) -> dict[str, Any]:
    p = np.exp(logits / temperature)
    p /= p.sum(axis=1, keepdims=True)
    answers, labels = logits.argmax(axis=1), range(logits.shape[1])
    if logits.shape[1] == 2:
        area = metrics.roc_auc_score(truth, p[:, 1])
    else:
        area = metrics.roc_auc_score(truth, p, multi_class="ovr", labels=labels)
    return {
        "accuracy": metrics.accuracy_score(truth, answers),
        "balanced accuracy": metrics.balanced_accuracy_score(truth, answers),
        "macro F1": metrics.f1_score(truth, answers, average="macro"),
        "log loss": metrics.log_loss(truth, p, labels=labels),
        "AUC": area,
    }


@given(st.lists(st.integers(0, 6), min_size=1, max_size=60), st.integers(0, 10_000))
def test_whole_groups_are_drawn(groups: list[int], seed: int) -> None:
    codes = 10 * np.array(groups) - 3
    weights = drawn_weights(len(codes), seed, groups=codes)[:50]
    first = {code: place for place, code in reversed(list(enumerate(codes.tolist())))}
    if len(first) == 1:  # of whom nothing is known beyond them
        assert np.array_equal(weights, drawn_weights(len(codes), seed)[:50])
        return
    assert np.array_equal(weights, weights[:, [first[code] for code in codes.tolist()]])
    assert (weights[:, list(first.values())].sum(axis=1) == len(first)).all()


@settings(max_examples=30)  # scikit-learn takes its time
@given(st.integers(0, 10_000), st.integers(2, 4), st.sampled_from([0.5, 1.0, 3.0]))
def test_classes(seed: int, outputs: int, temperature: float) -> None:
    rng = np.random.default_rng(seed)
    truth = np.concatenate([np.arange(outputs), rng.integers(outputs, size=40)])
    logits = np.round(rng.normal(size=(len(truth), outputs)), 1)  # with ties
    logits[np.arange(len(truth)), truth] += rng.uniform(0, 2)
    drawn = drawn_weights(len(truth), seed)[:3]
    drawn[:, :outputs] += 1  # every class is there
    weights = np.concatenate([ones(len(truth)), drawn])
    found = scores(logits, truth, "classification", weights, temperature)
    for row, own in enumerate(weights):
        rows = by_draws(own)
        expected = classes_by_sklearn(logits[rows], truth[rows], temperature)
        assert {name: each[row] for name, each in found.items()} == pytest.approx(expected)


@given(st.integers(0, 10_000), st.integers(1, 3))
def test_targets(seed: int, outputs: int) -> None:
    rng = np.random.default_rng(seed)
    units = np.array([1, 1e6, 1e-3])[:outputs]  # which errors of several targets do not depend on
    truth = rng.normal(1e4, 3, size=(50, outputs)) * units
    answers = truth + rng.normal(size=truth.shape) * units
    weights = np.concatenate([ones(50), drawn_weights(50, seed)[:3]])
    found = scores(answers, truth, "regression", weights)
    for row, own in enumerate(weights):
        pair = truth[by_draws(own)], answers[by_draws(own)]
        assert found["R²"][row] == pytest.approx(metrics.r2_score(*pair), rel=1e-4)
        unit, name = (1, "") if outputs == 1 else (truth.std(axis=0), " in deviations")
        roots = metrics.root_mean_squared_error(*pair, multioutput="raw_values")
        assert found[f"RMSE{name}"][row] == pytest.approx((roots / unit).mean(), rel=1e-5)
        means = metrics.mean_absolute_error(*pair, multioutput="raw_values")
        assert found[f"MAE{name}"][row] == pytest.approx((means / unit).mean(), rel=1e-5)


@settings(max_examples=30)  # scikit-learn takes its time
@given(st.integers(0, 10_000))
def test_labels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = (rng.random((50, 3)) < 0.4).astype(np.float32)
    truth[:3] = np.eye(3)
    logits = rng.normal(size=truth.shape) + truth
    weights = np.concatenate([ones(50), drawn_weights(50, seed)[:2]])
    weights[:, :3] += 1
    found = scores(logits, truth, "multilabel", weights)
    for row, own in enumerate(weights):
        rows = by_draws(own)
        answers, p = logits[rows] > 0, 1 / (1 + np.exp(-logits[rows]))
        losses = [metrics.log_loss(truth[rows, j], p[:, j], labels=[0, 1]) for j in range(3)]
        expected = {
            "micro F1": metrics.f1_score(truth[rows], answers, average="micro"),
            "macro F1": metrics.f1_score(truth[rows], answers, average="macro"),
            "all labels right": metrics.accuracy_score(truth[rows], answers),
            "log loss": np.mean(losses),
        }
        assert {name: each[row] for name, each in found.items()} == pytest.approx(expected)


def test_an_interval_holds_the_true_accuracy_as_often_as_it_says() -> None:
    held = 0
    for seed in range(200):
        right = np.random.default_rng(seed).random(300) < 0.8
        logits = np.where(right[:, None], [1.0, 0.0], [0.0, 1.0])
        found = scores(logits, np.zeros(300, int), "classification", drawn_weights(300, seed))
        low, high = np.quantile(found["accuracy"], [0.025, 0.975])
        held += low <= 0.8 <= high
    assert 0.9 <= held / 200 <= 0.99


def test_a_table_of_classes() -> None:
    truth, answers = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 0, 0])
    table = np.array(list(class_scores(np.eye(4)[answers], truth)))
    expected = metrics.precision_recall_fscore_support(
        truth, answers, labels=range(4), zero_division=np.nan
    )
    np.testing.assert_allclose(table[:, 0], expected[3])
    np.testing.assert_allclose(table[:, 1:3].T, expected[:2])
    np.testing.assert_allclose(table[:3, 3], expected[2][:3])


def test_one_class_alone_has_no_area() -> None:
    found = scores(np.ones((4, 2)), np.zeros(4, int), "classification", ones(4))
    assert np.isnan(found["AUC"]).all()
    assert found["accuracy"] == [1.0]


@pytest.mark.parametrize("task", ["classification", "multilabel"])
def test_measuring_takes_no_more_memory_than_the_answers_themselves(task: Any) -> None:
    rng, rows = np.random.default_rng(0), 60_000
    logits = rng.normal(size=(rows, 100)).astype(np.float32)
    truth = rng.integers(100, size=rows) if task == "classification" else logits > 0.5
    tracemalloc.start()
    scores(logits, truth, task, ones(rows))
    fit_temperature(logits, np.zeros(rows, np.int64), low=1.0, high=1.1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2.5 * logits.nbytes  # several times that in double precision
