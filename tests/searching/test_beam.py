"""Beams: several partial ensembles that grow side by side."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import students, tiny, winners

from bdistil.errors import SpecError
from bdistil.export.ensemble import Ensemble
from bdistil.report.pareto import front, points_of
from bdistil.runs.journal import RoundRecord
from bdistil.runs.run_directory import RunDirectory
from bdistil.searching import beam as beam_module
from bdistil.searching.beam import FOLDER, Extension, branches_of, on_front, select
from bdistil.searching.run import run_search

BEAM = (
    "workers.count=0", "search.beam=3", "search.select=best", "search.rounds=3",
    "space.connection=dense", "space.epochs=12", "search.tries_per_class=4",
)  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return run_search(tiny(*BEAM), tmp_path_factory.mktemp("beam") / "run")


def losses(branch: Path) -> list[float]:
    return [record.result.loss for record in RunDirectory(branch).journal.read()]


def test_the_best_branch_becomes_the_run(whole: RunDirectory) -> None:
    branches = branches_of(whole.path / FOLDER, 3)
    assert len(branches) == 3
    assert winners(whole.path) == winners(branches[0])
    assert students(whole.path) == students(branches[0])
    final = [losses(branch)[-1] for branch in branches]
    assert final == sorted(final)
    assert len(Ensemble.from_pretrained(whole.path)) == 3


def test_only_the_last_rounds_branches_stay(whole: RunDirectory) -> None:
    names = {path.name for path in (whole.path / FOLDER).iterdir()}
    assert names == {"003.done", "003-00", "003-01", "003-02"}


def test_branches_are_different_ensembles(whole: RunDirectory) -> None:
    final = {tuple(students(b).values()) for b in branches_of(whole.path / FOLDER, 3)}
    assert len(final) == 3


def test_a_beam_of_one_is_the_greedy_search(tmp_path: Path) -> None:
    greedy = run_search(tiny(*BEAM, "search.beam=1"), tmp_path / "greedy").path
    spec = tiny(*BEAM, "search.beam=2")
    first = beam_module.Beam(RunDirectory(greedy), spec)  # its seedling starts from no student
    (greedy / "rounds.jsonl").rename(tmp_path / "kept.jsonl")
    [extension, *_] = beam_module.extend(spec, first.seedling())
    kept = RoundRecord.model_validate_json((tmp_path / "kept.jsonl").read_text().splitlines()[0])
    assert extension.record.sha256 == kept.sha256
    assert extension.record.margin_sha256 == kept.margin_sha256


def test_the_margin_of_each_branch_is_that_of_its_students(whole: RunDirectory) -> None:
    for branch in branches_of(whole.path / FOLDER, 3):
        beam_module.BranchRound(tiny(*BEAM), branch)  # replays; a wrong hash would warn
        record = RunDirectory(branch).journal.read()[-1]
        assert record.margin_sha256 == replayed(branch)


def replayed(branch: Path) -> str:
    return beam_module.BranchRound(tiny(*BEAM), branch).margin.sha256


@pytest.mark.parametrize("killed_after", ["extend", "plant", "done", "forget"])
def test_it_goes_on_where_it_was_killed(
    whole: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_after: str
) -> None:
    calls = {"left": 2}

    def dying(action):  # type: ignore[no-untyped-def]
        def call(*arguments, **named):  # type: ignore[no-untyped-def]
            result = action(*arguments, **named)
            calls["left"] -= 1
            if calls["left"] == 0:
                raise KeyboardInterrupt
            return result

        return call

    targets = {
        "extend": (beam_module, "extend"),
        "plant": (beam_module.Beam, "plant"),
        "done": (beam_module, "write_atomic"),
        "forget": (beam_module.Beam, "forget"),
    }
    owner, name = targets[killed_after]
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, dying(getattr(owner, name)))
        with pytest.raises(KeyboardInterrupt):
            run_search(tiny(*BEAM), tmp_path / "run")
    resumed = run_search(tiny(*BEAM), tmp_path / "run").path
    assert winners(resumed) == winners(whole.path)
    assert students(resumed) == students(whole.path)


def test_the_front_looks_at_every_branch(whole: RunDirectory) -> None:
    points = points_of([whole.path])
    assert len(points) == 9
    assert {point.label for point in points} >= {"run-003-00:1", "run-003-02:3"}
    best = front(points)
    assert max(p.validation for p in points) == max(p.validation for p in best)


@pytest.mark.cluster
def test_branches_on_ray_find_the_same(whole: RunDirectory, tmp_path: Path) -> None:
    on_ray = run_search(tiny(*BEAM, "workers.count=2"), tmp_path / "run").path
    assert students(on_ray) == students(whole.path)


@pytest.mark.parametrize(
    ("override", "match"),
    [
        ("search.select=first", "beam needs select: best"),
        ("search.time_budget=5", "beam knows no time_budget"),
        ("search.beam=0", r"search\.beam is 0"),
    ],
)
def test_what_does_not_go_together_is_refused(override: str, match: str) -> None:
    with pytest.raises(SpecError, match=match):
        tiny(*BEAM, override)


def extension(loss: float, flops: int, weak: bool = True) -> Extension:
    result = {
        "request": {
            "round": 1, "number": 0, "rung": 0, "attempt": 0, "params": {}, "seed": 0
        },
        "status": "finished", "loss": loss, "weak": weak,
    }  # fmt: skip
    record = RoundRecord(
        round=1, student={"kind": "mlp", "width": 1, "connection": "none", "skip": True},
        file="", sha256="", margin_sha256="", result=result, trials=(), seconds=0,
    )  # fmt: skip
    return Extension(Path(), record, b"", flops)


def test_selection_takes_front_by_front() -> None:
    pool = [
        extension(*each) for each in [(0.5, 100), (0.4, 200), (0.6, 90), (0.55, 300), (0.3, 400)]
    ]
    assert [beam_module.loss_of(e) for e in select(pool, 4)] == [0.3, 0.4, 0.5, 0.6]
    assert [beam_module.loss_of(e) for e in select(pool, 9)] == [0.3, 0.4, 0.5, 0.55, 0.6]


def test_candidates_that_are_no_weak_learners_are_the_last_resort() -> None:
    pool = [extension(0.1, 1, weak=False), extension(0.9, 9)]
    assert [e.record.result.weak for e in select(pool, 2)] == [True]
    assert len(select(pool[:1], 2)) == 1


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12))
def test_the_front_is_what_nobody_beats(costs: list[tuple[int, int]]) -> None:
    expected = [not any(a <= c and b <= d and (a < c or b < d) for a, b in costs) for c, d in costs]
    assert on_front(costs).tolist() == expected
