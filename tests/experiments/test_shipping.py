"""Runs of an experiment on workers, which work in another folder, with what their task takes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tiny import tiny

from bdistil.cli.experiment_options import in_options
from bdistil.cluster import connect
from bdistil.errors import ClusterError
from bdistil.experiments import execute
from bdistil.experiments.design import Run
from bdistil.experiments.shipping import shipped
from bdistil.spec import WorkerSpec

GPU = WorkerSpec(count=1, cpus=2, gpus=0.5)


def test_paths_hold_elsewhere_and_the_run_stays_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").touch()
    files = ("data={path: table.csv, test_path: test.csv}", "modules=[mine.py, json]")
    teacher = "teacher={model: 'mine.py:make', weights: w.safetensors}"
    starts = "search.warm_start=[runs/one, 's3://bucket/two']"
    spec = tiny(*files, teacher, starts, "workers={count: 0, gpus: 1}")
    run = Run("tiny", {"space.skip": "true"}, 0, spec)
    there = shipped(run, GPU)
    assert (there.folder, there.teacher_folder) == (run.folder, run.teacher_folder)
    assert there.spec.identity() == run.spec.identity()
    assert there.spec.data.path == tmp_path / "table.csv"
    assert there.spec.data.test_path == tmp_path / "test.csv"
    assert there.spec.teacher.model == f"{tmp_path / 'mine.py'}:make"
    assert there.spec.teacher.weights == tmp_path / "w.safetensors"
    assert there.spec.modules == [str(tmp_path / "mine.py"), "json"]
    assert there.spec.search.warm_start == [str(tmp_path / "runs" / "one"), "s3://bucket/two"]
    assert (there.spec.workers.cpus, there.spec.workers.gpus) == (2, 0.5)
    assert there.spec.workers.count == 0


def test_teachers_of_other_data_or_seeds_lie_apart() -> None:
    specs = [tiny(), tiny("data.options.examples=700"), tiny("teacher.epochs=6")]
    runs = [Run("tiny", {}, seed, spec) for seed in (0, 1) for spec in specs]
    assert len({run.teacher_folder for run in runs}) == 6


@dataclass(frozen=True, eq=False)
class Ended:
    """A task that has run."""

    result: Any


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, float, float]]:
    """What is run, of which method, with how many GPUs and on how many it trains.

    Tasks run here, one after another, but in another folder, as those of `ray start` do.
    """
    begun: list[tuple[str, str, float, float]] = []
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    class Task:
        def __init__(self, function: Callable[..., Any], workers: WorkerSpec) -> None:
            self.function, self.workers = function, workers

        def remote(self, run: Run, folder: Path) -> Ended:
            name, trained_on = self.function.__name__, run.spec.workers.gpus
            begun.append((name, run.cell["method"], self.workers.gpus, trained_on))
            here = Path.cwd()
            os.chdir(elsewhere)
            try:
                on_cpus = run.spec.workers.model_copy(update={"gpus": 0})
                spec = run.spec.model_copy(update={"workers": on_cpus})
                return Ended(self.function(replace(run, spec=spec), folder))
            finally:
                os.chdir(here)

    def as_they_end(begun: list[Ended], *_: Any) -> Iterator[tuple[Ended, Any]]:
        yield from ((task, task.result) for task in begun)

    monkeypatch.setattr(execute, "cluster", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(execute, "task_of", Task)
    monkeypatch.setattr(execute, "as_they_end", as_they_end)
    monkeypatch.chdir(tmp_path)
    return begun


@pytest.mark.filterwarnings("ignore::bdistil.errors.BdistilWarning")
def test_all_is_written_where_the_command_says_and_gpus_go_to_who_uses_them(
    tmp_path: Path, tasks: list[tuple[str, str, float, float]]
) -> None:
    spec = tiny("search.rounds=1", "space.growth=1.6", "workers.count=0")
    runs = [Run("tiny", {"method": name}, 0, spec) for name in ("single", "ours")]
    found = execute.execute(runs, Path("out"), GPU)
    assert [len(each.stages) for each in found] == [1, 1]
    for run in runs:
        assert (tmp_path / "out" / run.folder / execute.FIGURES_FILE).is_file()
    assert (tmp_path / "out" / runs[0].teacher_folder / "teacher").is_dir()
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert [each[0] for each in tasks] == ["make_teacher", "make_run", "make_run"]
    assert tasks[0][2:] == (0.5, 0.5)
    assert {method: gpus for _, method, gpus, _ in tasks[1:]} == {"single": 0, "ours": 0.5}
    assert tasks[-1][1:] == ("ours", 0.5, 0.5)
    assert len(execute.execute(runs, Path("out"), GPU)) == 2  # of what is there
    assert len(tasks) == 3


def test_what_a_cluster_lacks_is_named_by_its_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "has_autoscaler", lambda: False)
    monkeypatch.setattr(connect, "alive_nodes", lambda: [{"CPU": 4.0}])
    with pytest.raises(ClusterError, match=r"^--cpus is 99, .* set --autoscale if"), in_options():
        connect.check_resources(WorkerSpec(count=1, cpus=99))


@pytest.mark.parametrize("options", [("--cpus", "0"), ("--cpus", "nan"), ("--gpus", "-1")])
def test_a_run_takes_something(
    options: tuple[str, str], bdistil: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "tiny.yaml").write_text(tiny().to_yaml())
    vary = ("--vary", "space.skip=[true, false]", "--out", tmp_path / "out")
    answer = bdistil("ablate", tmp_path / "tiny.yaml", *vary, *options)
    assert answer.status == 2
    assert "--cpus must be above 0" in answer.errors
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["ablate", "compare"])
def test_a_uri_is_no_folder_of_an_experiment(
    command: str, bdistil: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(tiny().to_yaml())
    vary = ("--vary", "space.skip=[true, false]") if command == "ablate" else ()
    answer = bdistil(command, "tiny.yaml", *vary, "--out", "s3://bucket/experiment")
    assert answer.status == 2
    assert "s3://bucket/experiment is a URI" in answer.errors
    assert not (tmp_path / "s3:").exists()
