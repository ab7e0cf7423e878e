"""A limit of time: measured, turned into FLOPs before a search, and kept by every stage."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_clock import TEACHER, clock
from tiny import tiny
from torch import nn

from bdistil.cluster.launch import launch_search
from bdistil.core.progressive_ensemble import ProgressiveEnsemble
from bdistil.core.student import StudentConfig
from bdistil.datasets.catalogue import load_dataset
from bdistil.errors import BdistilWarning, MissingDependencyError, SearchError, SpecError
from bdistil.export.checkpoint import build_student
from bdistil.export.merged_layers import Affine
from bdistil.export.stage_timing import stage_timer
from bdistil.names import RUNTIMES, Runtime
from bdistil.searching.resolve import resolve
from bdistil.searching.stage_plan import MOST_STAGES
from bdistil.spec import GoalSpec, Spec, load_spec

HERE = "workers.count=0"


def test_the_time_is_turned_into_the_flops_that_take_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock(monkeypatch, call=0.2, of_flops=0.5)
    spec = tiny("goal.within_time=50%", "search.rounds=null", "space.ladder=[1]")
    planned = resolve(spec, load_dataset(spec.data, 0))
    assert planned.goal is not None
    assert planned.goal.within == pytest.approx(0.3 / 0.5)
    clock(monkeypatch, call=0.0, of_flops=0.1)  # another machine goes on as the first one planned
    assert resolve(spec.as_decided_in(planned), load_dataset(spec.data, 0)).goal == planned.goal
    asked = tiny("goal.within_time=50%", "goal.within=40%", "search.rounds=null")
    assert resolve(asked, load_dataset(asked.data, 0)).goal == asked.goal


def test_time_that_no_flops_use_up_allows_no_more_flops_than_the_teachers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock(monkeypatch, call=0.2, of_flops=0.0)
    spec = tiny("goal.within_time=50%", "search.rounds=null", "space.ladder=[1]")
    goal = resolve(spec, load_dataset(spec.data, 0)).goal
    assert goal is not None
    assert goal.within is not None
    assert 0.9 < goal.within <= 1


def test_less_than_a_call_takes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    clock(monkeypatch, call=0.4, of_flops=0.5)
    spec = tiny("goal.within_time=30%", "search.rounds=null", "space.ladder=[2]")
    with pytest.raises(SpecError, match=r"0.3 of the .* width 2\) takes 0.46 of it .* raise"):
        resolve(spec, load_dataset(spec.data, 0))


def test_a_teacher_that_cannot_be_timed_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    clock(monkeypatch, call=0.2, of_flops=0.5, teacher=None)
    spec = tiny("goal.within_time=50%", "search.rounds=null", "space.ladder=[2]")
    goal = resolve(spec, load_dataset(spec.data, 0)).goal
    assert goal is not None
    assert goal.within is None


def test_answers_alone_take_no_time(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 3)).astype(np.float32), rng.integers(0, 2, 40)
    np.savez(tmp_path / "t.npz", x=x, y=y, teacher=rng.normal(size=(40, 2)).astype(np.float32))
    spec = load_spec(
        {
            "data": {"path": str(tmp_path / "t.npz")},
            "teacher": {"columns": ["teacher"]},
            "goal": {"within_time": 0.5},
        }
    )
    with pytest.raises(SpecError, match=r"only the answers are known.*teacher\.model"):
        resolve(spec, load_dataset(spec.data, 0, spec.teacher.columns))


def test_a_winner_that_takes_too_long_ends_the_search_and_is_not_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clock(monkeypatch, call=0.2, of_flops=1.0)
    limits = ("goal.within_time=60%", "goal.within=90%", "search.rounds=4", "space.growth=2")
    spec = tiny(*limits, "space.ladder=[2]", "search.fallback=best", HERE)
    result = launch_search(spec, tmp_path / "run")
    assert result.complete
    assert result.ended is not None
    assert result.ended.end == "cost"
    assert (
        "of the teacher's time here, more than goal.within_time=0.6 (by torch on 1 thread)"
        in result.ended.reason
    )
    assert result.ended.trials
    costs = [0.2 + stage.flops / TEACHER for stage in result.evaluation.stages]
    assert costs
    assert max(costs) <= 0.6
    again = launch_search(spec, tmp_path / "run")
    assert len(again.rounds) == len(costs)


IDENTITY = Affine(torch.zeros(()), torch.ones(()))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_an_ensemble_is_timed_beside_its_teacher(runtime: Runtime) -> None:
    config = StudentConfig("mlp", 2, "none", skip=False)
    ensemble = ProgressiveEnsemble(3, [build_student(config, (500,), 3, ())]).eval()
    large = nn.Sequential(nn.Linear(500, 4000), nn.ReLU(), nn.Linear(4000, 3))
    stage, teacher = stage_timer(large, IDENTITY, (500,), runtime)(ensemble)
    assert teacher is not None
    assert 0 < stage < teacher
    stage, teacher = stage_timer(None, IDENTITY, (500,), runtime, 2)(ensemble)
    assert 0 < stage < 1
    assert teacher is None


def test_a_teacher_that_cannot_be_a_graph_is_left_out_with_a_warning() -> None:
    class Stubborn(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * 2 if float(x.sum()) > 0 else x

    with pytest.warns(BdistilWarning, match="by onnxruntime is left out"):
        timer = stage_timer(Stubborn(), IDENTITY, (5,), "onnxruntime")
    config = StudentConfig("mlp", 2, "none", skip=False)
    ensemble = ProgressiveEnsemble(3, [build_student(config, (5,), 3, ())]).eval()
    assert timer(ensemble).teacher is None


def test_a_missing_runtime_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    spec = tiny("goal={within_time: 50%, within: 50%, runtime: onnxruntime}")
    with pytest.raises(MissingDependencyError, match=r"onnxruntime is not installed; install"):
        resolve(spec, load_dataset(spec.data, 0))


def test_more_threads_than_cores_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    asked = clock(monkeypatch, call=0.0, of_flops=0.5)
    spec = tiny("goal={within_time: 50%, threads: 4}", "search.rounds=null", "space.ladder=[2]")
    resolve(spec, load_dataset(spec.data, 0))
    assert asked == [("torch", 4)]
    spec = tiny("goal={within_time: 50%, threads: 5}")
    with pytest.raises(
        SpecError, match=r"goal.threads is 5, but this machine.* has 4 cores; lower"
    ):
        resolve(spec, load_dataset(spec.data, 0))


def answers_alone(folder: Path, *overrides: str) -> Spec:
    """A spec whose teacher is columns."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(120, 3)).astype(np.float32), rng.integers(0, 2, 120)
    x[:, 0] += 2 * y
    logits = np.stack([-x[:, 0], x[:, 0]], axis=1)
    np.savez(folder / "t.npz", x=x, y=y, teacher=logits)
    data = (f"data={{path: {folder / 't.npz'}}}", "teacher={columns: [teacher]}")
    return tiny(HERE, *data, "search.rounds=null", "space.ladder=[2]", *overrides)


def test_a_duration_is_a_limit_beside_answers_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clock(monkeypatch, call=1e-3, of_flops=0.02)
    spec = answers_alone(tmp_path, "goal.within_time=3ms", "space.growth=2")
    dataset = load_dataset(spec.data, 0, spec.teacher.columns)
    within = (3e-3 - 1e-3) / 0.02 * TEACHER
    decided = resolve(spec, dataset).goal
    assert decided is not None
    assert decided.within == round(within)
    result = launch_search(spec, tmp_path / "run")
    assert 1 <= max(stage.flops for stage in result.evaluation.stages) <= within
    monkeypatch.undo()
    clock(monkeypatch, call=5e-3, of_flops=0.02)
    with pytest.raises(SpecError, match=r"time is 3ms, but the smallest .* takes 5,6[23]0 µs"):
        resolve(spec, dataset)


def test_a_duration_that_any_planned_stage_keeps_to_decides_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clock(monkeypatch, call=1e-3, of_flops=0.0)
    spec = answers_alone(tmp_path, "goal.within_time=2 s")
    planned = resolve(spec, load_dataset(spec.data, 0, spec.teacher.columns))
    assert planned.goal is not None
    assert planned.goal.within is None
    assert planned.search.rounds == MOST_STAGES


def test_a_winner_that_takes_longer_than_a_duration_is_not_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clock(monkeypatch, call=2e-3, of_flops=1e-2)
    limits = ("goal.within_time=6ms", "goal.within=90%", "search.rounds=4", "space.growth=2")
    spec = tiny(*limits, "space.ladder=[2]", "search.fallback=best", HERE)
    result = launch_search(spec, tmp_path / "run")
    assert result.ended is not None
    assert result.ended.end == "cost"
    assert "more than goal.within_time=6,000 µs (by torch on 1 thread)" in result.ended.reason
    seconds = [2e-3 + 1e-2 * stage.flops / TEACHER for stage in result.evaluation.stages]
    assert max(seconds) <= 6e-3


def test_a_search_keeps_to_a_time_by_onnxruntime(tmp_path: Path) -> None:
    """By the real clock: a second is enough for every stage, a microsecond for none."""
    goal = "goal={{within_time: {}, within: {}, runtime: onnxruntime}}"
    shape = ("search.rounds=2", "space.ladder=[2]", "search.fallback=best", HERE)
    result = launch_search(tiny(goal.format("1s", "null"), *shape), tmp_path / "slow")
    assert result.complete
    assert len(result.rounds) == 2
    assert result.ended is None or "FLOPs allowed" in result.ended.reason
    with pytest.raises(SearchError, match=r"would take .* µs here.*0.100 µs \(by onnxruntime on 1"):
        launch_search(tiny(goal.format("0.1us", "100%"), *shape), tmp_path / "fast")


@pytest.mark.parametrize(
    ("given", "kept"),
    [("25%", 0.25), (".5", 0.5), (1.5, 1.5), ("2ms", "2ms"), (" 1.5 s", "1.5s"), ("20us", "20us")],
)
def test_times_are_written_as_people_write_them(given: object, kept: object) -> None:
    goal = GoalSpec(within_time=given)  # type: ignore[arg-type]
    assert goal.within_time == kept
    assert GoalSpec.model_validate_json(goal.model_dump_json()) == goal


@pytest.mark.parametrize("given", ["0ms", "-2ms", "2 parsecs", "x%", "0", 0, [2], "1.2.3ms", "inf"])
def test_what_is_no_time_is_refused(given: object) -> None:
    with pytest.raises(SpecError, match=r"goal.within_time: must be a share"):
        load_spec({"data": {"name": "cube"}, "goal": {"within_time": given}})


@pytest.mark.parametrize("field", ["runtime: torch", "threads: 2"])
def test_a_way_to_measure_without_a_limit_is_refused(field: str) -> None:
    with pytest.raises(SpecError, match=r"says how within_time is measured; give within_time"):
        tiny(f"goal={{keep: 99%, {field}}}")


def test_flops_decided_by_a_time_hold_for_the_same_way_to_measure_it() -> None:
    stored = GoalSpec(within_time=0.5, within=0.3)
    assert GoalSpec(within_time=0.5).as_decided_in(stored) == stored
    assert GoalSpec(within_time=0.4).as_decided_in(stored).within is None
    other = GoalSpec(within_time=0.5, runtime="onnxruntime")
    assert other.as_decided_in(stored).within is None
    assert GoalSpec(within_time=0.5, runtime="torch").as_decided_in(stored).within == 0.3
