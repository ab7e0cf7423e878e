"""Areas, intervals and tests against independent arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bdistil.experiments.statistics import (
    area,
    budgets_of,
    compare,
    corrected,
    interval,
    metric_at,
    quotient,
)

CURVE = [(100.0, 0.5), (200.0, 0.7), (400.0, 0.8)]


@pytest.mark.parametrize(
    ("budget", "metric"), [(100, 0.5), (199, 0.5), (200, 0.7), (399, 0.7), (10_000, 0.8)]
)
def test_the_last_affordable_stage_answers(budget: float, metric: float) -> None:
    assert metric_at(CURVE, budget) == metric


def test_nothing_answers_below_the_first_stage() -> None:
    assert np.isnan(metric_at(CURVE, 99))


def test_budgets_start_where_every_curve_answers() -> None:
    budgets = budgets_of([CURVE, [(150.0, 0.4), (900.0, 0.9)]])
    assert budgets[0] == 150
    assert budgets[-1] == pytest.approx(900)
    np.testing.assert_allclose(np.diff(np.log(budgets)), np.log(6) / 24)


def test_curves_of_one_stage_answer_at_every_budget() -> None:
    """Log-spaced numbers from one to itself are rounded, below it for almost half of all."""
    for cost in map(float, range(1, 2000)):
        assert area([(cost, 0.75)], budgets_of([[(cost, 0.75)], [(cost, 0.5)]])) == 0.75


def test_of_what_is_no_better_than_nothing_there_is_no_share() -> None:
    found = quotient([0.5, -0.5, 0.5, 0.5], [2.0, 2.0, 0.0, -0.1])
    np.testing.assert_array_equal(found, [0.25, -0.25, np.nan, np.nan])


def test_the_area_is_the_mean_over_budgets() -> None:
    budgets = np.array([100.0, 150, 250, 500])
    assert area(CURVE, budgets) == pytest.approx((0.5 + 0.5 + 0.7 + 0.8) / 4)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holms_correction_equals_its_definition(ps: list[float]) -> None:
    expected, least = {}, 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        least = max(least, min(1.0, ps[index] * (len(ps) - rank)))
        expected[index] = least
    np.testing.assert_allclose(corrected(ps), [expected[i] for i in range(len(ps))])


def test_an_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    covered = 0
    for seed in range(100):
        low, high = interval(random.normal(0.3, 1, 30), seed)
        covered += low <= 0.3 <= high
    assert 86 <= covered <= 100


def test_a_comparison_is_what_its_parts_say() -> None:
    random = np.random.default_rng(1)
    values = random.normal(0.02, 0.03, 12)
    data = ["a"] * 6 + ["b"] * 6
    found = compare(values, data)
    assert found.difference == pytest.approx(values.mean())
    assert found.effect == pytest.approx(values.mean() / values.std(ddof=1))
    assert found.p == pytest.approx(stats.wilcoxon(values, zero_method="zsplit").pvalue)
    assert found.low < found.difference < found.high
    assert found.wins == np.mean([values[:6].mean() > 0, values[6:].mean() > 0])


def test_few_pairs_have_no_interval_and_no_effect() -> None:
    found = compare(np.array([0.1, 0.2, 0.3, 0.2]), ["a"] * 4)
    assert found.difference == pytest.approx(0.2)
    assert np.isnan([found.low, found.high, found.effect]).all()


def test_equal_sides_are_no_difference() -> None:
    found = compare(np.zeros(5), ["a"] * 5)
    assert (found.difference, found.low, found.high, found.effect, found.p) == (0, 0, 0, 0, 1)
