"""Searches that learn from others first: what is refused before anything is trained, and told."""

from __future__ import annotations

from pathlib import Path

import pytest
from reporters import Heard, StopAfterOne
from tiny import tiny

from bdistil.cluster.launch import launch_search
from bdistil.errors import BdistilError, CheckpointError, SpecError
from bdistil.runs.run_directory import RunDirectory
from bdistil.runs.trial import TrialRequest, TrialResult
from bdistil.searching import sampling, warm_start
from bdistil.searching.warm_start import told_warm_start
from bdistil.spec import load_spec

QUICK = ("workers.count=0", "search.rounds=2", "space.epochs=1", "teacher.epochs=1")


@pytest.mark.parametrize(
    ("place", "refusal"), [("nowhere", "is no run directory"), ("run", "the run itself")]
)
def test_what_is_no_other_run_is_refused_before_the_teacher_is_trained(
    place: str, refusal: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = tiny(*QUICK, f"search.warm_start=[./{place}]")
    with pytest.raises(BdistilError, match=refusal):
        launch_search(spec, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_how_many_trials_are_learnt_from_is_told(tmp_path: Path) -> None:
    first = tmp_path / "first"
    launch_search(tiny(*QUICK), first)
    compared = [t for record in RunDirectory(first).journal.read() for t in record.compared]
    fast = [t for t in compared if t.request.params["lr"] >= 0.03]
    assert 0 < len(fast) < len(compared)

    def said(*overrides: str) -> str:
        heard = Heard()
        spec = tiny(*QUICK, f"search.warm_start=[{first}]", *overrides)
        folder = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        launch_search(spec, folder, reporter=heard)
        return next(text for text in heard.messages if "warm_start" in text)

    def learnt(trials: list[TrialResult]) -> str:
        return f"; round 1 learns from {sum(t.request.round == 1 for t in trials)} of them"

    has = f"has {len(compared)} trials"
    assert f"{has}{learnt(compared)}, later ones from {len(compared)}." in said()
    only = f"{has}{learnt(fast)}, later ones from {len(fast)}."
    assert only in said("space.lr={low: 0.03, high: 0.05}")
    assert f"{has}{learnt(compared)}." in said("search.rounds=1")
    assert f"{has}, but none with a value in" in said("space.lr={low: 0.5, high: 0.9}")
    assert "algorithm: random learns nothing" in said("search.algorithm=random")


def trial(number: int, position: int) -> TrialResult:
    params = {"lr": 0.02, "connection": "none"}
    request = TrialRequest(
        round=number, number=position, rung=0, attempt=position, params=params, seed=1
    )
    return TrialResult(request=request, status="finished")


def test_of_more_trials_than_are_remembered_the_last_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (sampling, warm_start):
        monkeypatch.setattr(module, "MOST_REMEMBERED", 3)
    trials = [trial(number // 4 + 1, number % 4) for number in range(8)]
    spec = tiny("search.warm_start=[a, b]", "search.rounds=3")
    sampler = sampling.OptunaSampler(spec, lambda: [], [trials, trials[:2]])
    told = [*told_warm_start(spec, [trials, trials[:2]], sampler, 1)]
    assert [text.partition("; ")[2] for text in told] == [
        "round 1 learns from 1 of them, later ones from 1, as 3 are the most.",
        "round 1 learns from 2 of them, later ones from 2, as 3 are the most.",
    ]
    sampler.open_round(2)
    assert len(sampler.past) == 3


def test_a_run_that_is_gone_is_told_with_the_field_and_the_way_on_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    launch_search(tiny(*QUICK), tmp_path / "first")
    spec = tiny(*QUICK, "search.warm_start=[first]", "search.rounds=3")
    with pytest.raises(KeyboardInterrupt):
        launch_search(spec, tmp_path / "second", reporter=StopAfterOne())
    stored = RunDirectory(tmp_path / "second").spec()
    assert stored.search.warm_start == [str(tmp_path / "first")]
    (tmp_path / "first" / "spec.yaml").unlink()
    monkeypatch.chdir("/")
    gone = r"^search\.warm_start: .*first is no run directory.*search\.warm_start=\[\]\.$"
    with pytest.raises(CheckpointError, match=gone):
        launch_search(stored, tmp_path / "second")
    without = load_spec(tmp_path / "second" / "spec.yaml", ["search.warm_start=[]"])
    assert len(launch_search(without, tmp_path / "second").rounds) == 3


def test_impossible_places_are_refused() -> None:
    with pytest.raises(SpecError, match=r"search\.warm_start: .*is empty; give run directories"):
        tiny("search.warm_start=['']")
