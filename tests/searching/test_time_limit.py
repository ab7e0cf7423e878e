"""A limit of time: measured, turned into FLOPs before a search, and kept by every stage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import tiny
from torch import nn

from bdistil.cluster.launch import launch_search
from bdistil.core.cost import flops
from bdistil.core.folding import FoldedPrefix
from bdistil.core.progressive_ensemble import ProgressiveEnsemble
from bdistil.core.student import StudentConfig
from bdistil.datasets.catalogue import load_dataset
from bdistil.errors import SpecError
from bdistil.export.checkpoint import build_student
from bdistil.searching import goal as goal_module
from bdistil.searching import time_limit
from bdistil.searching.resolve import resolve
from bdistil.searching.time_limit import timer_of
from bdistil.spec import load_spec

HERE = "workers.count=0"
TEACHER = 2 * (16 * 16 + 16 * 4)  # FLOPs of `tiny`


def clock(monkeypatch: pytest.MonkeyPatch, call: float, of_flops: float) -> None:
    """Time of a call and of the FLOPs, both as shares of the teacher's."""

    def fake(teacher: nn.Module | None, shape: tuple[int, ...], seconds: float | None = None):
        def share(ensemble: ProgressiveEnsemble) -> float:
            cost = flops(FoldedPrefix(ensemble, len(ensemble)), shape)
            return call + of_flops * cost / TEACHER

        return share

    monkeypatch.setattr(time_limit, "timer_of", fake)
    monkeypatch.setattr(goal_module, "timer_of", fake)


def test_the_time_is_turned_into_the_flops_of_the_widest_student_within_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock(monkeypatch, call=0.2, of_flops=0.5)
    spec = tiny("goal.within_time=50%", "search.rounds=null", "space.ladder=[1]")
    planned = resolve(spec, load_dataset(spec.data, 0))
    width = (0.3 / 0.5 * TEACHER) // (2 * (16 + 4))
    assert planned.goal is not None
    assert planned.goal.within == pytest.approx(width * 2 * (16 + 4) / TEACHER)
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
    clock(monkeypatch, call=float("nan"), of_flops=0.5)
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
    assert "of the teacher's time here, more than goal.within_time=0.6" in result.ended.reason
    assert result.ended.trials
    costs = [0.2 + stage.flops / TEACHER for stage in result.evaluation.stages]
    assert costs
    assert max(costs) <= 0.6
    again = launch_search(spec, tmp_path / "run")
    assert len(again.rounds) == len(costs)


def test_an_ensemble_is_timed_beside_its_teacher() -> None:
    config = StudentConfig("mlp", 2, "none", skip=False)
    ensemble = ProgressiveEnsemble(3, [build_student(config, (500,), 3, ())]).eval()
    large = nn.Sequential(nn.Linear(500, 4000), nn.ReLU(), nn.Linear(4000, 3))
    assert 0 < timer_of(large, (500,))(ensemble) < 1
    assert timer_of(None, (500,), 1e3)(ensemble) < 1e-3
    assert torch.isnan(torch.tensor(timer_of(None, (500,))(ensemble)))
