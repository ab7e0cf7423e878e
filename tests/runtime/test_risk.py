"""Promises of early exits: how often they are broken on unseen examples, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from deployed import deploy, examples
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from bdistil import Predictor
from bdistil.errors import DataError, SpecError
from bdistil.runtime.confidence import softmax
from bdistil.runtime.exits import OperatingPoint, operating_points
from bdistil.runtime.risk import keeping, least_share

RISK, PROMISE = 0.2, 0.96


@given(rows=st.integers(1, 400), right=st.integers(0, 400), risk=st.floats(0.001, 0.5))
def test_the_least_share_is_clopper_and_pearsons(rows: int, right: int, risk: float) -> None:
    right = min(right, rows)
    expected = 0.0 if right == 0 else beta.ppf(risk, right, rows - right + 1)
    assert least_share(right, rows, risk) == pytest.approx(expected, abs=1e-6)


def population(rows: int, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Three stages that are right more and more often, and not sure where they are wrong."""
    generator = np.random.default_rng(seed)
    truth, hard = generator.integers(0, 3, rows), generator.random((rows, 1))
    noise = generator.normal(size=(rows, 3))
    logits = [s * np.eye(3)[truth] + noise * (0.4 + hard) for s in (1.5, 2.3, 4.0)]
    return [softmax(each) for each in logits], truth


def points_of(trace: list[np.ndarray], truth: np.ndarray, limit: int) -> list[OperatingPoint]:
    def right(answers: np.ndarray, rows: np.ndarray) -> float:
        return float((answers.argmax(axis=1) == truth[rows]).mean())

    scores = ("confidence", "margin")
    return [p for s in scores for p in operating_points(s, trace, right, [1, 2, 3], limit)]


def broken(exact: bool, splits: int, rows: int) -> tuple[float, float]:
    """How often the cheapest point's promise is broken, and how often there is one."""
    trace, truth = population(40_000, seed=0)
    sure = {
        "confidence": [step.max(axis=1) for step in trace],
        "margin": [np.diff(np.sort(step, axis=1)[:, -2:])[:, 0] for step in trace],
    }
    right = [step.argmax(axis=1) == truth for step in trace]
    found, failed = 0, 0
    for seed in range(splits):
        some = np.random.default_rng(seed).choice(len(truth), rows, replace=False)
        kept = keeping(
            points_of([step[some] for step in trace], truth[some], 12), PROMISE, RISK, exact=exact
        )
        if not kept:
            continue
        point = min(kept, key=lambda p: p.cost)
        first, second, _ = (each >= point.policy.threshold for each in sure[point.score])
        true = np.where(first, right[0], np.where(second, right[1], right[2])).mean()
        found, failed = found + 1, failed + (true < PROMISE)
    return failed / splits, found / splits


@pytest.mark.parametrize("exact", [True, pytest.param(False, marks=pytest.mark.nightly)])
def test_promises_are_broken_no_more_often_than_was_said(exact: bool) -> None:
    """A count above this bound has a chance of one in a thousand, if the risk is kept."""
    failed, found = broken(exact, splits=100, rows=250)
    assert failed <= RISK + 3.1 * np.sqrt(RISK * (1 - RISK) / 100)
    assert found > 0.5  # or the test says nothing


def test_the_row_ends_at_the_first_threshold_that_is_not_shown() -> None:
    def point(threshold: float | None, metric: float, score: str = "margin") -> OperatingPoint:
        return OperatingPoint(score, threshold, metric, 1.0, 1.0, error=0.01, rows=200)

    lucky = [point(None, 0.99), point(0.9, 0.98), point(0.8, 0.85), point(0.7, 0.99)]
    for exact in (True, False):
        assert keeping(lucky, 0.9, 0.1, exact=exact) == lucky[:2]
        assert keeping(lucky, 0.999, 0.1, exact=exact) == []
    close = [point(None, 0.93), point(None, 0.93, "confidence")]
    assert len(keeping(close[:1], 0.9, 0.1, exact=True)) == 1
    assert keeping(close, 0.905, 0.1, exact=True) == []  # two scores share the risk


def test_what_cannot_be_promised_is_refused_with_what_can(tmp_path: Path) -> None:
    deploy(tmp_path, ("mlp", 4, "none", True), ("mlp", 3, "dense", True))
    predictor = Predictor(tmp_path, backend="torch")
    bound = least_share(200, 200, 0.1)  # the last stage is the truth; one score
    with pytest.raises(SpecError, match=rf"assure no more than {int(bound * 1e4) / 1e4:.4f}"):
        predictor.policy("confidence", at_least=0.995)
    assert predictor.policy("confidence", at_least=bound - 1e-6).metric >= bound
    assert predictor.policy("confidence", at_least=0.995, risk=0.6).metric >= 0.995
    with pytest.raises(SpecError, match="risk is 1; give a chance between 0 and 1"):
        predictor.policy(at_least=0.5, risk=1)


def test_rows_that_chose_nothing_can_be_measured_on_instead(tmp_path: Path) -> None:
    deploy(tmp_path, ("mlp", 4, "none", True), ("mlp", 3, "dense", True))
    predictor, x = Predictor(tmp_path, backend="torch"), examples("mlp", 150, seed=3)
    y = predictor.predict(x)
    y[:15] = predictor.manifest.classes[np.argsort(predictor.predict_proba(x[:15]))[:, 1]]
    point = predictor.policy("confidence", at_least=0.8, on=(x, y))
    answers = predictor.answer(x, exit=point)
    assert point.rows == 150
    assert point.metric == pytest.approx(float((answers.values == y).mean()))
    with pytest.raises(SpecError, match=r"150 rows, on which all stages have 0.9000, assure"):
        predictor.policy("confidence", at_least=0.9, on=(x, y))
    with pytest.raises(DataError, match=r"y holds .*'other'.*, none of the classes"):
        predictor.policy(at_least=0.5, on=(x, np.array(["other"] * 150)))
    with pytest.raises(DataError, match=r"y has shape \(149,\); give a label for each of the 150"):
        predictor.policy(at_least=0.5, on=(x, y[1:]))
