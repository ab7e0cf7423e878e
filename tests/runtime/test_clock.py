"""Early exits by the clock: what they cost here, and none where they cost more than they save."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from deployed import deploy, examples
from hypothesis import given
from hypothesis import strategies as st

from bdistil import Predictor
from bdistil.errors import SpecError
from bdistil.runtime.clock import ROUNDS, StageTimes, measure_times
from bdistil.runtime.exits import OperatingPoint, operating_points
from bdistil.runtime.manifest import Manifest
from bdistil.runtime.risk import RISK, keeping

STUDENTS = [("mlp", 4, "none", True), ("mlp", 3, "dense", True), ("mlp", 4, "dense", True)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clock")
    deploy(folder, *STUDENTS)
    return folder


def clocked(folder: Path, steps: tuple[float, ...], straight: float) -> Predictor:
    predictor = Predictor(folder)
    predictor._times = StageTimes(steps, straight)
    return predictor


def test_where_a_stage_costs_as_much_as_all_nobody_leaves_early(folder: Path) -> None:
    predictor = clocked(folder, (1e-5, 2e-5, 3e-5), straight=9e-6)
    for score in (None, "confidence", "margin"):
        point = predictor.policy(score)
        assert point.threshold is None
        assert point.cost == 9e-6
    answer = predictor.answer(examples("mlp", 20), exit="confidence")
    assert set(answer.stages) == {3}
    np.testing.assert_array_equal(answer.values, predictor.predict(examples("mlp", 20)))


def test_where_stages_cost_more_they_leave_as_early_as_the_accuracy_allows(folder: Path) -> None:
    predictor = clocked(folder, (1e-6, 2e-6, 1.0), straight=1.0)
    worst = min(point.metric for point in predictor.manifest.exits)
    point = predictor.policy(at_least=worst - 0.2)
    assert point.threshold is not None
    assert point.cost < 1.0
    timed = predictor.times().timed(predictor.manifest.exits)
    assert point.cost == min(each.cost for each in keeping(timed, worst - 0.2, RISK, exact=True))


def test_a_budget_is_a_duration_or_a_share_of_all_stages_at_once(folder: Path) -> None:
    predictor = clocked(folder, (1e-5, 4e-5, 9e-5), straight=8e-5)
    for budget in ("50%", "40us", 4e-5):
        assert predictor.policy(budget=budget).cost <= 4e-5
    with pytest.raises(SpecError, match=r"less than any policy costs .* us at least"):
        predictor.policy(budget="1us")
    with pytest.raises(SpecError, match=r"FLOPs at least"):
        predictor.policy(budget=1, by="flops")
    with pytest.raises(SpecError, match=r"by is 'clock'; choose time or flops"):
        predictor.policy(by="clock")


@pytest.mark.parametrize("by", ["time", "flops"])
def test_promises_that_cannot_be_kept_are_refused(folder: Path, by: str) -> None:
    predictor = clocked(folder, (1e-5, 2e-5, 3e-5), straight=3e-5)
    with pytest.raises(SpecError, match=r"at_least is 1.1, but 200 rows"):
        predictor.policy(at_least=1.1, by=by)


def test_it_is_measured_once_and_grows_from_stage_to_stage(folder: Path) -> None:
    predictor = Predictor(folder)
    times = predictor.times()
    assert predictor.times() is times
    assert 0 < times.steps[0] < times.steps[1] < times.steps[2]
    assert times.straight > 0


def test_slow_ensembles_are_not_measured_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    now, asked = [0.0], []

    class Slow:
        def begin(self, x: object) -> int:
            asked.append("begin")
            return 0

        def advance(self, progress: int) -> int:
            now[0] += 2.0
            return progress + 1

        def straight(self, x: object, stages: int) -> None:
            now[0] += 3.0

    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    times = measure_times(Slow(), np.zeros((1, 2), np.float32), 2)  # type: ignore[arg-type]
    assert times == StageTimes((2.0, 4.0), 3.0)
    assert len(asked) < ROUNDS


@given(
    st.lists(st.floats(0, 1), min_size=6, max_size=40),
    st.lists(st.floats(0.1, 9), min_size=3, max_size=3),
)
def test_the_mean_cost_is_that_of_where_examples_leave(
    sure: list[float], steps: list[float]
) -> None:
    likely = np.array(sure) / 2 + 0.5
    trace = [np.stack([p, 1 - p], axis=1) for p in (likely, np.sqrt(likely), likely**0.1)]
    points = operating_points("confidence", trace, lambda found, rows: 0.5, [1.0, 2.0, 3.0])
    times = StageTimes(tuple(np.cumsum(steps)), straight=1.0)
    for point in points:
        assert sum(point.leaving) == pytest.approx(1)
        assert np.dot(point.leaving, [1, 2, 3]) == pytest.approx(point.stages)
        if point.threshold is None:
            assert times.cost(point) == 1.0
            continue
        scores = np.stack([step.max(axis=1) for step in trace])
        left = (scores >= point.threshold) | (np.arange(3)[:, None] == 2)
        seconds = np.cumsum(steps)[left.argmax(axis=0)]
        assert times.cost(point) == pytest.approx(seconds.mean())


def test_older_exports_do_not_say_where_examples_leave(folder: Path) -> None:
    old = OperatingPoint("confidence", 0.9, 0.9, 5.0, 1.5)
    never = OperatingPoint("confidence", None, 0.9, 9.0, 3.0)
    assert StageTimes((1.0, 2.0, 3.0), 2.0).timed([old, never]) == [
        OperatingPoint("confidence", None, 0.9, 2.0, 3.0)
    ]
    kept = Manifest.read(folder).exits
    assert all(len(point.leaving) == len(STUDENTS) for point in kept)
