"""Which stages are begun before a deadline, and where: by a clock that only the stages move."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deployed import deploy, examples

from bdistil import Predictor
from bdistil.runtime import deadlines, pace
from bdistil.runtime.deadlines import MARGIN, ROWS, SLACK, STRAIGHT, Deadlines
from bdistil.runtime.pace import LIFE, MOST_SIZES, Pace
from bdistil.runtime.runner import Progress

STAGES = 4
MS = 1e-3
SOON = 1e-6  # roundings of the clock


class Clock:
    """Time goes on only if something takes it."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


class Steady:
    """A runner whose calls take as many ms a row as the test says; logits say how far it went."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.per_row = dict.fromkeys(range(1, STAGES + 1), 1.0) | {STRAIGHT: 10.0}

    def begin(self, x: np.ndarray) -> Progress:
        return Progress(0, np.zeros((len(x), 2), np.float32), None)

    def advance(self, progress: Progress) -> Progress:
        stage = progress.stage + 1
        self.clock.now += MS * self.per_row[stage] * len(progress.logits)
        return Progress(stage, np.full_like(progress.logits, stage), None)

    def straight(self, x: np.ndarray, stage: int) -> np.ndarray:
        self.clock.now += MS * self.per_row[STRAIGHT] * len(x)
        return np.full((len(x), 2), -stage, np.float32)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    mine = Clock()
    monkeypatch.setattr(pace, "time", mine)
    monkeypatch.setattr(deadlines, "time", mine)
    return mine


@pytest.fixture
def runner(clock: Clock) -> Steady:
    return Steady(clock)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long each thread was waited for; it then does what it can at once."""
    waited: list[float] = []

    class AtOnce:
        def __init__(self, stages: Any, latest: Any) -> None:
            self.stages = stages

        def wait(self, timeout: float) -> None:
            waited.append(timeout)
            list(self.stages)

        def stop(self, *, wait: bool) -> None:
            assert not wait

    monkeypatch.setattr(deadlines, "AnytimeRun", AtOnce)
    return waited


def measured(runner: Steady, rows: int = 1) -> Deadlines:
    """Knows the pace of so many rows, as of now."""
    own = Deadlines(STAGES)
    for kind, milliseconds in runner.per_row.items():
        own.pace.note(kind, rows, MS * milliseconds * rows)
    return own


def reached(own: Deadlines, runner: Steady, duration: float, rows: int = 1) -> Any:
    """The stage after so many ms."""
    x = np.zeros((rows, 3), np.float32)
    logits, stage = own.until(runner, x, runner.clock.now + MS * duration + SOON)  # type: ignore[arg-type]
    np.testing.assert_array_equal(abs(logits[:, 0]), np.broadcast_to(stage, rows))
    return stage


@pytest.mark.parametrize(
    ("duration", "stage"), [(0.1, 1), (1 + MARGIN - 0.1, 1), (1 + MARGIN, 2), (3 + MARGIN, 4)]
)
def test_stages_are_begun_while_they_fit_and_in_the_callers_thread(
    runner: Steady, threads: list[float], duration: float, stage: int
) -> None:
    assert reached(measured(runner), runner, duration) == stage
    assert threads == []


def test_all_stages_at_once_are_taken_where_there_is_time(
    runner: Steady, threads: list[float]
) -> None:
    runner.per_row[STRAIGHT] = 0.5
    logits, stage = measured(runner).until(
        runner, np.zeros((1, 3)), 100.0 + MS * SLACK * 0.5 + SOON
    )  # type: ignore[arg-type]
    assert (logits[0, 0], stage, threads) == (-STAGES, STAGES, [])


def test_what_nobody_knows_of_goes_to_a_thread(runner: Steady, threads: list[float]) -> None:
    assert reached(Deadlines(STAGES), runner, 30.0) == STAGES
    assert threads == [
        pytest.approx(29 * MS, abs=2 * SOON)
    ]  # the first stage is waited for in any case


def test_an_old_pace_is_believed_where_there_is_much_time(
    runner: Steady, threads: list[float]
) -> None:
    own = measured(runner)
    runner.clock.now += LIFE + 0.1
    assert reached(own, runner, 3 + SLACK) == STAGES
    assert threads == []


def test_an_old_pace_does_not_keep_a_stage_out(runner: Steady, threads: list[float]) -> None:
    """It may have been a slow moment, so it is tried again where the caller can leave."""
    own = measured(runner)
    own.pace.note(2, 1, MS * 0.5)
    runner.clock.now += LIFE + 0.1
    runner.per_row = dict.fromkeys(runner.per_row, 0.01)
    assert reached(own, runner, 1.0) == STAGES
    assert len(threads) == 1


def test_stages_that_took_no_time_show_that_straight_takes_none(runner: Steady) -> None:
    own = measured(runner)
    runner.per_row[STRAIGHT] = 0.1
    assert reached(own, runner, 30.0) == STAGES
    begun = runner.clock.now
    assert reached(own, runner, 30.0) == STAGES
    assert runner.clock.now - begun == pytest.approx(0.1 * MS)


def test_a_large_batch_is_cut_where_time_runs_out(runner: Steady, threads: list[float]) -> None:
    rows = 2 * ROWS + 10
    runner.per_row = {kind: taken / ROWS for kind, taken in runner.per_row.items()}
    own = measured(runner, ROWS)
    stages = reached(own, runner, rows / ROWS + MARGIN, rows)
    assert stages.tolist() == [2] * ROWS + [1] * (ROWS + 10)
    assert threads == []


def test_telling_the_answers_of_a_large_batch_is_done_by_the_deadline_too(
    clock: Clock, runner: Steady
) -> None:
    """Probabilities of many rows take as long as stages; of few rows nothing to speak of."""

    def tell(logits: np.ndarray, _: object) -> None:
        clock.now += MS * len(logits) / ROWS

    rows = 4 * ROWS
    runner.per_row = {kind: taken / ROWS for kind, taken in runner.per_row.items()}
    own = Deadlines(STAGES, tell)
    own.warm_up(runner, np.zeros((ROWS, 3), np.float32))  # type: ignore[arg-type]
    assert own.telling_a_row == pytest.approx(MS / ROWS)
    for told, duration in ((False, 8.0), (True, 12.0)):  # two stages, and the telling of 4 ms
        begun = clock.now
        end = begun + MS * (duration + MARGIN - 1) + SOON
        logits, stages = own.until(runner, np.zeros((rows, 3)), end, told=told)  # type: ignore[arg-type]
        assert set(stages.tolist()) == {2}
        if told:
            tell(logits, stages)
        assert clock.now <= end
    few = np.zeros((ROWS, 3), np.float32)
    assert own.until(runner, few, clock.now + MS * (1 + MARGIN) + SOON, told=True)[1] == 2  # type: ignore[arg-type]


def test_a_batch_of_unknown_pace_is_no_sum_of_small_ones(
    runner: Steady, threads: list[float]
) -> None:
    """A runtime takes 512 rows in little more time than one: warming up with one tells nothing."""
    own = measured(runner)
    runner.per_row = {kind: taken / ROWS for kind, taken in runner.per_row.items()}
    assert reached(own, runner, 30.0, ROWS) == STAGES
    assert len(threads) == 1
    assert reached(own, runner, 30.0, ROWS) == STAGES
    assert len(threads) == 1  # known from now on


def test_what_takes_too_long_for_fewer_rows_is_not_begun(
    runner: Steady, threads: list[float]
) -> None:
    own = measured(runner)
    runner.per_row[1] = 0.001
    assert reached(own, runner, 0.001 * ROWS + 1, ROWS) == 1
    assert threads == []


def test_one_slow_moment_does_not_keep_a_stage_out(runner: Steady, threads: list[float]) -> None:
    own = measured(runner)
    runner.clock.now += LIFE + 0.1
    for kind in runner.per_row:
        own.pace.note(kind, 1, 50 * MS)
    assert reached(own, runner, 3 + MARGIN) == STAGES
    assert threads == []


def test_a_pace_forgets_the_oldest_size(clock: Clock) -> None:
    known = Pace()
    for rows in range(1, MOST_SIZES + 2):
        known.note(1, rows, 1.0)
        clock.now += 0.001
    assert len(known._seen[1]) == MOST_SIZES
    assert 1 not in known._seen[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("deadlines")
    deploy(path, *(("mlp", width, "dense", True) for width in (3, 2, 4)))
    return path


def test_a_fresh_predictor_and_its_copies_warm_up_by_themselves(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadlines, "AnytimeRun", None)  # no thread is started
    fresh, x = Predictor(folder), examples("mlp", 5)
    for predictor in (fresh, pickle.loads(pickle.dumps(fresh))):
        assert not predictor.deadlines.warm
        assert set(predictor.answer(x, deadline="30s").stages) == {3}
        assert predictor.deadlines.warm


def test_a_large_batch_gets_the_answers_of_a_small_one(folder: Path) -> None:
    predictor, x = Predictor(folder), examples("mlp", 2 * ROWS + 10)
    answer = predictor.answer(x, deadline=1e-9)
    assert set(answer.stages) == {1}
    assert answer.values.tolist() == predictor.predict(x, stages=1).tolist()
