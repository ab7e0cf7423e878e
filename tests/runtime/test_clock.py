"""Early exits by the clock: what they cost here, and none where they cost more than they save."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from deployed import deploy, examples
from hypothesis import given
from hypothesis import strategies as st

from bdistil import Predictor
from bdistil.errors import SpecError
from bdistil.runtime.clock import LARGEST, ROUNDS, StageTimes, measure_times, timed_batch
from bdistil.runtime.exits import OperatingPoint, operating_points
from bdistil.runtime.manifest import Manifest
from bdistil.runtime.risk import RISK, keeping
from bdistil.runtime.runner import Progress

STUDENTS = [("mlp", 4, "none", True), ("mlp", 3, "dense", True), ("mlp", 4, "dense", True)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clock")
    deploy(folder, *STUDENTS)
    return folder


def clocked(folder: Path, steps: tuple[float, ...], straight: float) -> Predictor:
    predictor = Predictor(folder)
    predictor._times = dict.fromkeys((1, 16), StageTimes(steps, straight))
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


@pytest.mark.parametrize(("straight", "leaves"), [(1.05, True), (0.9, False)])
def test_what_saves_next_to_nothing_is_left(folder: Path, straight: float, leaves: bool) -> None:
    """Whoever leaves after the first stage takes .9 here: 86% or 100% of going straight."""
    predictor = clocked(folder, (0.9, 1.9, 2.9), straight=straight + 1e-9)
    worst = min(point.metric for point in predictor.manifest.exits)
    point = predictor.policy(at_least=worst - 0.2)
    assert (point.threshold is not None) == leaves


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
    with pytest.raises(SpecError, match=r"at_least is 1, but 200 rows"):
        predictor.policy(at_least=1.0, by=by)


def test_it_is_measured_once_and_grows_from_stage_to_stage(folder: Path) -> None:
    predictor = Predictor(folder)
    times = predictor.times()
    assert predictor.times() is times
    assert 0 < times.steps[0] < times.steps[1] < times.steps[2]
    assert times.straight > 0


def test_slow_ensembles_are_not_measured_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch)
    times = measure_times(slow, [np.zeros((1, 2), np.float32)], 2, slow.seen, "confidence")
    assert times == StageTimes((2.25, 4.25), 3.0)  # nobody is looked for after the last
    assert slow.begun < ROUNDS


def test_batches_are_measured_beside_one_example(monkeypatch: pytest.MonkeyPatch) -> None:
    slow, x = Slow(monkeypatch), np.zeros((5, 2), np.float32)
    times = measure_times(slow, [x[:1], x], 3, slow.seen, "stability")
    assert times == StageTimes((2.25, 4.5, 6.5), 7.0, 5, (6.25, 12.5, 18.5))


class Slow:
    """A stage takes a second and one more for each example; looking at answers, a quarter."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.begun = 0.0, 0
        monkeypatch.setattr("time.perf_counter", lambda: self.now)

    def begin(self, x: np.ndarray) -> Progress:
        self.begun += 1
        return Progress(0, x, None)

    def advance(self, progress: Progress) -> Progress:
        self.now += 1.0 + len(progress.logits)
        return Progress(progress.stage + 1, progress.logits, None)

    def take(self, progress: Progress, rows: np.ndarray) -> Progress:
        raise AssertionError("nobody leaves")

    def straight(self, x: np.ndarray, stage: int) -> np.ndarray:
        self.now += 2.0 + len(x)
        return x

    def seen(self, progress: Progress) -> np.ndarray:
        self.now += 0.25
        return progress.logits


@given(
    st.lists(st.integers(0, 5), min_size=3, max_size=3).filter(any),
    st.lists(st.floats(0.1, 9), min_size=6, max_size=6),
    st.integers(2, 3),
)
def test_a_batch_costs_what_the_mean_over_all_ways_to_leave_does(
    leaving: list[int], seconds: list[float], batch: int
) -> None:
    """Counted out: every stage for every example, each way with its chance."""
    fixed, each = np.array(seconds[:3]), np.array(seconds[3:])
    shares = np.array(leaving) / sum(leaving)
    expected = 0.0
    for way in itertools.product(range(3), repeat=batch):
        still_in = [sum(left >= stage for left in way) for stage in range(3)]
        taken = sum(fixed[s] + each[s] * n for s, n in enumerate(still_in) if n)
        expected += float(np.prod(shares[list(way)])) * taken / batch
    times = StageTimes(
        tuple(np.cumsum(fixed + each)), 1.0, batch, tuple(np.cumsum(fixed + batch * each))
    )
    point = OperatingPoint("confidence", 0.9, 0.9, 0.0, 1.0, leaving=tuple(shares))
    assert times.cost(point) == pytest.approx(expected)
    never = OperatingPoint("confidence", None, 0.9, 0.0, 3.0, leaving=(0.0, 0.0, 1.0))
    assert times.cost(never) == pytest.approx(1.0 / batch)


def test_a_policy_goes_by_the_batch_that_is_asked_for(folder: Path) -> None:
    """Alone nobody should leave; in a batch a stage costs next to nothing for each."""
    predictor = clocked(folder, (1e-5, 2e-5, 3e-5), straight=1e-5)
    predictor._times[100] = StageTimes((1e-5, 2e-5, 3e-5), 1e-2, 100, (1.1e-5, 2.2e-5, 3.3e-5))
    assert predictor.policy().threshold is None
    point = predictor.policy(batch=100, budget="1us")
    assert point.threshold is not None
    assert point.cost < 1e-6
    for wrong in (0, -1, True, 2.5, "many"):
        with pytest.raises(SpecError, match="batch is "):
            predictor.policy(batch=wrong)  # type: ignore[arg-type]
    assert predictor.times(7).batch == 7
    assert len(predictor.times(7).together) == 3


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


@given(st.integers(0, 10**7))
def test_few_sizes_of_batches_are_timed(examples: int) -> None:
    batch = timed_batch(examples)
    assert batch in (1, 4, 16, 64, 256, 1024)
    assert batch <= max(examples, 1)
    assert examples < 4 * batch or batch == LARGEST


def test_a_share_of_time_is_of_an_example_of_the_batch(folder: Path) -> None:
    predictor = Predictor(folder)
    straight = StageTimes((1e-6, 1e-3, 2e-3), 8.0, batch=8, together=(8e-6, 8.0, 16.0))
    predictor._times = {8: straight}
    point = predictor.policy(budget="50%", batch=8)
    assert point.cost <= 0.5  # seconds; all stages take one
    with pytest.raises(SpecError, match="less than any policy costs"):
        predictor.policy(budget="0.0000001%", batch=8)


def test_a_named_exit_goes_by_the_batch_at_hand(folder: Path) -> None:
    predictor = Predictor(folder)
    predictor.predict(examples("mlp", 9), exit="confidence")
    predictor.predict(examples("mlp", 1), exit="confidence")
    assert set(predictor._times) == {1, 4}
