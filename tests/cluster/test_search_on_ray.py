"""Whole searches on a real local Ray.

What does not need Ray is in tests/searching/: a search in one process gives the same bits.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from tiny import PATIENCE, bdistil, command, students, tiny, winners, write_spec

import bdistil as package
from bdistil.cluster.launch import launch_search
from bdistil.errors import CheckpointError, ClusterError, SearchError
from bdistil.runs.run_directory import RunDirectory
from bdistil.searching.outcome import run_dataset
from bdistil.searching.result import SearchResult

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def result(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    spec: dict[str, Any] = tiny().model_dump(mode="json")
    return package.search(spec, tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture(scope="module")
def uninterrupted(result: SearchResult) -> Path:
    return result.directory


def test_search_as_a_python_function(result: SearchResult) -> None:
    assert len(result.ensemble) == len(result.rounds) == 4
    assert result.evaluation.stages[1].flops > result.evaluation.stages[0].flops


def test_one_worker_writes_the_bits_of_a_search_in_this_process(
    uninterrupted: Path, tmp_path: Path
) -> None:
    here = launch_search(tiny("workers.count=0"), tmp_path / "run").run.path
    assert winners(here) == winners(uninterrupted)
    assert students(here) == students(uninterrupted)
    assert len(students(here)) == 4


@pytest.mark.nightly  # a search in this process, above, is the stronger comparison
def test_two_runs_with_one_worker_choose_the_same_and_write_the_same_bits(
    uninterrupted: Path, tmp_path: Path
) -> None:
    again = launch_search(tiny(), tmp_path / "run").run.path
    assert winners(again) == winners(uninterrupted)
    assert students(again) == students(uninterrupted)


def test_a_finished_run_holds_everything_the_readme_names(uninterrupted: Path) -> None:
    run = RunDirectory.existing(uninterrupted)
    for path in (run.spec_file, run.trials_file, run.study_file, run.evaluation_file):
        assert path.exists()
    ensemble = package.Ensemble.from_pretrained(run.path)
    assert len(ensemble) == 4
    trials = pd.read_parquet(run.trials_file)
    assert trials.groupby("round")["kept"].sum().tolist() == [1, 1, 1, 1]
    assert trials["status"].eq("finished").all()
    assert [file.name for file in (run.path / "students").iterdir() if file.name[0] == "."] == []


def test_the_exported_ensemble_computes_what_the_search_accepted(uninterrupted: Path) -> None:
    run = RunDirectory.existing(uninterrupted)
    dataset = run_dataset(run)
    ensemble = package.Ensemble.from_pretrained(run.path)
    x = torch.as_tensor(dataset.validation.x)
    truth = torch.as_tensor(dataset.validation.y)
    with torch.no_grad():
        for logits, record in zip(ensemble.stages(x), run.journal.read(), strict=True):
            accuracy = (logits.argmax(dim=1) == truth).double().mean().item()
            assert accuracy == pytest.approx(record.result.metric, abs=1e-9)


@pytest.mark.parametrize(
    "overrides",
    [
        ("search.select=first", "search.grace=1", "workers.count=2", "search.algorithm=random"),
        *(
            pytest.param(overrides, marks=pytest.mark.nightly)
            for overrides in (
                ("search.select=best", "workers.count=2"),
                ("space.recipe=[paper, faithful]", "space.lr=null", "search.algorithm=grid"),
                ("search.normalisation=per_label", "space.connection=[residual, lstm]"),
            )
        ),
    ],
)
def test_every_way_of_searching_accepts_all_rounds(
    local_ray: None, tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    run = launch_search(tiny("search.rounds=2", *overrides), tmp_path / "run").run
    assert [record.round for record in run.journal.read()] == [1, 2]
    assert len(package.Ensemble.from_pretrained(run.path)) == 2


def test_cohorts_train_together_and_repeatably_also_on_views(
    local_ray: None, tmp_path: Path
) -> None:
    views = "data.views={copies: 3, noise: 0.2, mixup: 0.2}"
    cohorts = ("search.rounds=2", "search.cohort=2", "space.connection=[dense, gru]", views)
    cohorts = (*cohorts, "space.recipe=accurate")
    run = launch_search(tiny(*cohorts), tmp_path / "run").run
    trials = [trial for record in run.journal.read() for trial in record.trials]
    first_round = [t for t in trials if t.request.round == 1]
    assert len(first_round) == 2
    assert {trial.cohort for trial in trials} == {2}
    again = launch_search(tiny(*cohorts, "workers.count=0"), tmp_path / "again").run
    assert students(again.path) == students(run.path)


def test_candidates_are_cut_as_in_this_process(local_ray: None, tmp_path: Path) -> None:
    halving = ("search.rounds=2", "search.pruner=halving", "search.tries_per_class=4")
    halving = (*halving, "search.select=best", "space.epochs=8")
    run = launch_search(tiny(*halving), tmp_path / "run").run
    again = launch_search(tiny(*halving, "workers.count=0"), tmp_path / "again").run
    assert students(again.path) == students(run.path)
    ours, theirs = ([r.cut for r in each.journal.read()] for each in (run, again))
    assert any(ours)
    assert [[t.milestones for t in cut] for cut in ours] == [
        [t.milestones for t in cut] for cut in theirs
    ]


def test_features_on_disk_give_the_same_students_by_path_or_by_bytes(
    local_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(600, 5)).astype(np.float32)
    arrays = {"x": x, "y": (x[:, 0] * x[:, 1] > 0).astype(int)}
    (tmp_path / "mine").mkdir()
    for name, array in arrays.items():
        np.save(tmp_path / "mine" / f"{name}.npy", array)
    np.savez(tmp_path / "mine.npz", **arrays)

    def searched(source: str, out: str, workers: int) -> Path:
        spec = tiny("search.rounds=1", f"workers.count={workers}").model_dump()
        spec |= {"data": {"path": str(tmp_path / source)}}
        return launch_search(package.load_spec(spec), tmp_path / out).run.path

    whole, mapped = searched("mine.npz", "whole", 0), searched("mine", "mapped", 1)
    assert students(mapped) == students(whole)
    assert winners(mapped) == winners(whole)
    monkeypatch.setattr("bdistil.cluster.shared_files.seen_by_all", lambda *_: False)
    assert students(searched("mine", "copied", 1)) == students(whole)
    raw, own = tmp_path / "mine" / "x.npy", package.Ensemble.from_pretrained(mapped)
    assert package.Predictor(mapped).predict(np.load(raw)).tolist() == own.predict(x).tolist()


def test_a_second_call_on_a_finished_run_changes_nothing(uninterrupted: Path) -> None:
    before = winners(uninterrupted)
    launch_search(tiny(), uninterrupted)
    assert winners(uninterrupted) == before


@pytest.mark.nightly  # test_faults.py moves a run after each kill
def test_a_moved_run_goes_on_where_it_was(uninterrupted: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("spec.yaml", "teacher", "students", "rounds.jsonl"):
        subprocess.run(["cp", "-r", uninterrupted / name, moved], check=True)
    lines = (moved / "rounds.jsonl").read_bytes().splitlines(keepends=True)
    (moved / "rounds.jsonl").write_bytes(b"".join(lines[:2]))
    launch_search(RunDirectory(moved).spec(), moved)
    assert winners(moved) == winners(uninterrupted)
    assert students(moved) == students(uninterrupted)


def test_a_changed_student_is_noticed(uninterrupted: Path, tmp_path: Path) -> None:
    subprocess.run(["cp", "-r", uninterrupted, tmp_path / "run"], check=True)
    file = tmp_path / "run" / "students" / "002.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"002.safetensors is not the student of the journal"):
        launch_search(tiny(), tmp_path / "run")


@pytest.mark.nightly  # test_faults.py has trials that always fail
def test_a_search_whose_trials_diverge_says_so(local_ray: None, tmp_path: Path) -> None:
    with pytest.raises(SearchError, match=r"loss became|not finite"):
        launch_search(tiny("space.lr=1e30", "space.connection=dense"), tmp_path / "run")
    assert RunDirectory(tmp_path / "run").journal.read() == []


@pytest.mark.nightly  # tests/searching/test_in_process.py has one that ends a trial in its midst
def test_a_time_budget_keeps_the_accepted_rounds(local_ray: None, tmp_path: Path) -> None:
    spec = tiny("search.rounds=500", "search.time_budget=4")
    run = launch_search(spec, tmp_path / "run").run
    accepted = len(run.journal.read())
    assert accepted < 500
    if accepted:  # a loaded machine may not get that far
        assert len(package.Ensemble.from_pretrained(run.path)) == accepted


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("workers.gpus=1", r"workers.gpus is 1, but the largest node has 0 GPUs"),
        ("workers.cpus=64", r"workers.cpus is 64, but the largest node has 2 CPUs"),
    ],
)
def test_missing_resources_are_named(
    local_ray: None, tmp_path: Path, override: str, sentence: str
) -> None:
    with pytest.raises(ClusterError, match=sentence):
        launch_search(tiny(override), tmp_path / "run")


def started_search(folder: Path, *overrides: str) -> tuple[subprocess.Popen[str], Path]:
    run = folder / "run"
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:  # tests that run in the background ignore interrupts, and what they start would, too
        process = subprocess.Popen(
            command("search", write_spec(folder, *overrides), "--out", run),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    finally:
        signal.signal(signal.SIGINT, before)
    return process, run


def wait_for_rounds(process: subprocess.Popen[str], run: Path, count: int) -> None:
    journal = run / "rounds.jsonl"
    deadline = time.monotonic() + PATIENCE
    while not journal.exists() or journal.read_bytes().count(b"\n") < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.nightly  # test_faults.py kills a driver whose cluster lives on
def test_kill_and_the_same_command_again_end_like_an_uninterrupted_run(
    uninterrupted: Path, tmp_path: Path
) -> None:
    process, run = started_search(tmp_path)
    wait_for_rounds(process, run, 3)
    os.killpg(process.pid, signal.SIGKILL)  # the driver and, as a crash would, its Ray
    process.wait()
    done = bdistil("search", tmp_path / "tiny.yaml", "--out", run)
    assert done.returncode == 0, done.stderr
    assert winners(run) == winners(uninterrupted)
    assert students(run) == students(uninterrupted)
    assert package.Ensemble.from_pretrained(run).config.students


def wait_for_training(process: subprocess.Popen[str]) -> None:
    """Until some Ray worker is in the middle of a trial, as its process title tells."""
    deadline = time.monotonic() + PATIENCE
    while not any("Trainable.train" in title for title in titles_of_children(process.pid)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(1)


def titles_of_children(pid: int) -> Iterator[str]:
    """Of all processes that a process has started, and these in turn: others may run Ray, too."""
    for child in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            yield " ".join(child.cmdline())


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.nightly)]
)
def test_an_interrupt_ends_a_trial_in_its_midst_and_says_how_to_resume(
    uninterrupted: Path, tmp_path: Path, number: signal.Signals
) -> None:
    # Trials of hours: none of them ends by itself.
    process, run = started_search(tmp_path, "space.epochs=100000", "search.rounds=2")
    wait_for_training(process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert f"bdistil resume {run}" in errors.replace("\n", "")
    assert "Traceback" not in errors


@pytest.mark.nightly  # a kill, above, is harder
def test_an_interrupted_search_resumes_to_the_same_end(uninterrupted: Path, tmp_path: Path) -> None:
    process, run = started_search(tmp_path)
    wait_for_rounds(process, run, 2)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    done = bdistil("resume", run)
    assert done.returncode == 0, done.stderr
    assert students(run) == students(uninterrupted)
    assert "Traceback" not in done.stderr
