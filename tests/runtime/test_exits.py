"""Early exit against plain arithmetic."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdistil.errors import SpecError
from bdistil.runtime.budget import stage_counts
from bdistil.runtime.confidence import (
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    softmax,
)
from bdistil.runtime.exits import SCORES, ExitPolicy, best_within, cheapest, operating_points

SURE, UNSURE = [0.9, 0.06, 0.04], [0.4, 0.35, 0.25]


def random_trace(seed: int, stages: int = 4, examples: int = 60, classes: int = 3) -> list:
    generator = np.random.default_rng(seed)
    return [softmax(generator.normal(size=(examples, classes)) * 2) for _ in range(stages)]


def accuracy_against(truth: np.ndarray) -> Callable[..., float]:
    return lambda answers, rows: float((answers.argmax(axis=1) == truth[rows]).mean())


def test_scores_are_what_they_say() -> None:
    trace = [np.array([SURE, UNSURE]), np.array([SURE, UNSURE[::-1]])]
    assert SCORES["confidence"](trace).tolist() == pytest.approx([0.9, 0.4])
    assert SCORES["margin"](trace).tolist() == pytest.approx([0.84, 0.05])
    assert SCORES["patience"](trace).tolist() == [1, 0]
    assert SCORES["stability"](trace).tolist() == pytest.approx([0, -0.15])
    assert np.isneginf(SCORES["stability"](trace[:1])).all()


def test_patience_counts_from_the_end() -> None:
    answers = [0, 1, 1, 1]
    trace = [np.eye(2)[[answer]] for answer in answers]
    assert SCORES["patience"](trace).tolist() == [2]


def test_an_unknown_score_is_refused_with_those_there_are() -> None:
    with pytest.raises(SpecError, match=r"'luck' is unknown; choose confidence, margin"):
        ExitPolicy("luck", 0.5)


@pytest.mark.parametrize("score", SCORES)
@given(seed=st.integers(0, 10_000))
def test_operating_points_equal_a_run_example_by_example(score: str, seed: int) -> None:
    trace, costs = random_trace(seed, examples=20), [1.0, 3.0, 4.0, 9.0]
    truth = np.random.default_rng(seed).integers(0, 3, 20)
    points = operating_points(score, trace, accuracy_against(truth), costs)
    point = points[seed % len(points)]
    right, spent = 0, 0.0
    for row in range(20):
        for stage in range(4):
            seen = [step[row : row + 1] for step in trace[: stage + 1]]
            if stage == 3 or point.policy.leaves(seen)[0]:
                right += int(seen[-1].argmax() == truth[row])
                spent += costs[stage]
                break
    assert point.metric == pytest.approx(right / 20)
    assert point.cost == pytest.approx(spent / 20)


@given(seed=st.integers(0, 10_000))
def test_the_chosen_point_is_the_best_of_all(seed: int) -> None:
    trace, truth = random_trace(seed), np.random.default_rng(seed).integers(0, 3, 60)
    points = operating_points("margin", trace, accuracy_against(truth), [1, 2, 3, 4])
    goal = points[len(points) // 2].assured
    assert cheapest(points, goal).cost == min(p.cost for p in points if p.metric - p.doubt >= goal)
    budget = points[len(points) // 2].cost
    chosen = best_within(points, budget)
    assert chosen.cost <= budget
    assert chosen.metric == max(p.metric for p in points if p.cost <= budget)
    assert cheapest(points, 1.1).metric == max(p.metric for p in points)


@given(seed=st.integers(0, 10_000))
def test_doubt_is_the_standard_error_of_a_paired_difference(seed: int) -> None:
    """With as many examples as groups the jackknife is the textbook's formula."""
    trace = random_trace(seed, examples=20)
    truth = np.random.default_rng(seed).integers(0, 3, 20)
    *_, point, never = operating_points("margin", trace, accuracy_against(truth), [1, 2, 3, 4])
    margins = np.stack([SCORES["margin"](trace[: stage + 1]) for stage in range(4)])
    leaves = margins >= point.policy.threshold
    leaves[-1] = True
    answers = np.stack(trace)[leaves.argmax(axis=0), np.arange(20)]
    right, full = (a.argmax(axis=1) == truth for a in (answers, trace[-1]))
    difference = right.astype(float) - full
    assert point.doubt == pytest.approx(difference.std(ddof=1) / np.sqrt(20), abs=1e-12)
    assert never.doubt == 0


@given(
    examples=st.integers(1, 300),
    increments=st.lists(st.floats(0.5, 50), min_size=1, max_size=8),
    share=st.floats(0.01, 1.5),
)
def test_a_budgeted_batch_keeps_its_budget(
    examples: int, increments: list[float], share: float
) -> None:
    budget = share * sum(increments)
    counts = stage_counts(examples, increments, budget)
    assert counts[0] == examples
    assert all(more >= fewer >= 0 for more, fewer in itertools.pairwise(counts))
    spent = float(np.dot(counts, increments))
    assert spent <= max(budget, increments[0]) * examples * (1 + 1e-9)
    if share >= 1.001:
        assert counts == [examples] * len(increments)


@functools.cache
def drawn_labels() -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn with the probabilities that they say."""
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(4000, 3)) * 2
    return logits, np.array([generator.choice(3, p=p) for p in softmax(logits)])


@given(temperature=st.floats(0.3, 5))
def test_the_fitted_temperature_undoes_a_known_one(temperature: float) -> None:
    logits, labels = drawn_labels()
    assert fit_temperature(logits * temperature, labels) == pytest.approx(temperature, rel=0.15)


@given(seed=st.integers(0, 1000))
def test_the_fitted_temperature_beats_a_grid(seed: int) -> None:
    generator = np.random.default_rng(seed)
    logits, labels = generator.normal(size=(50, 3)) * 3, generator.integers(0, 3, 50)
    fitted = negative_log_likelihood(logits, labels, fit_temperature(logits, labels))
    grid = [negative_log_likelihood(logits, labels, t) for t in np.geomspace(0.05, 20, 100)]
    assert fitted <= min(grid) + 1e-5


def test_calibration_error_by_hand() -> None:
    probabilities = np.array([[0.95, 0.05], [0.95, 0.05], [0.55, 0.45], [0.3, 0.7]])
    labels = np.array([0, 1, 0, 1])
    gaps = [abs(2 * 0.95 - 1), abs(0.55 - 1), abs(0.7 - 1)]  # three bins: two, one and one
    assert expected_calibration_error(probabilities, labels, 10) == pytest.approx(sum(gaps) / 4)
    assert expected_calibration_error(np.eye(2)[labels], labels) == 0
