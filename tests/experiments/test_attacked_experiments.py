"""Folders of experiments under attack: other things in them, damaged records, errors in a run."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny import tiny

from bdistil.errors import BdistilWarning, CheckpointError, DataError, SpecError
from bdistil.experiments import execute
from bdistil.experiments.design import Run
from bdistil.experiments.execute import FIGURES_FILE, make_run, make_teacher, stored
from bdistil.experiments.plan import PLAN_FILE, Plan
from bdistil.store.folder_lock import locked_folder

CELL = {"space.skip": "true"}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """A run that has ended, and the experiment's folder."""
    folder = tmp_path_factory.mktemp("experiment")
    run = Run("tiny", CELL, 0, tiny("search.rounds=1", "workers.count=0"))
    make_teacher(run, folder)
    make_run(run, folder)
    return run, folder


def changed(**changes: Any) -> Any:
    return lambda content: json.dumps(content | changes)


DAMAGED = {
    "cut": lambda content: json.dumps(content)[:-9],
    "a list": lambda _: "[]",
    "null": lambda _: "null",
    "nothing found": changed(stages=[]),
    "a stage without figures": changed(stages=[{}]),
    "no number": changed(teacher=float("nan")),
    "text for a number": changed(teacher="good"),
    "of another seed": changed(seed=1),
    "of another cell": changed(cell={"space.skip": "false"}),
    "of another set": changed(data="huge"),
    "deep": lambda _: "[" * 100_000,
    "no text": lambda _: "\ud800",
}


@pytest.mark.parametrize("how", DAMAGED)
def test_damaged_figures_are_told_and_found_again(
    done: tuple[Run, Path], tmp_path: Path, how: str
) -> None:
    run, folder = done
    content = json.loads((folder / run.folder / FIGURES_FILE).read_text())
    (tmp_path / FIGURES_FILE).write_bytes(DAMAGED[how](content).encode("utf-8", "surrogatepass"))
    with pytest.warns(BdistilWarning, match=r"damaged or of another run, which is searched again"):
        assert stored(tmp_path, run) is None


def test_whole_figures_are_kept(done: tuple[Run, Path], tmp_path: Path) -> None:
    run, folder = done
    found = stored(folder / run.folder, run)
    assert found is not None
    assert len(found.stages) == 1
    assert stored(tmp_path, run) is None  # nothing yet, and nothing to tell


def test_what_another_start_may_find_mended_is_no_result(tmp_path: Path) -> None:
    """A second command in the folder, a full disk, a damaged run: it was kept as without answer."""
    run = Run("tiny", CELL, 0, tiny("search.rounds=1", "workers.count=0"))
    make_teacher(run, tmp_path)
    place = tmp_path / run.folder
    place.mkdir(parents=True)
    with (place / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(CheckpointError, match="another search is running"):
            make_run(run, tmp_path)
    assert not (place / FIGURES_FILE).exists()
    assert not make_run(run, tmp_path).failed
    [student] = (place / "students").iterdir()
    student.write_bytes(student.read_bytes()[:-1])
    (place / FIGURES_FILE).unlink()
    with pytest.raises(CheckpointError, match="not the student of the journal"):
        make_run(run, tmp_path)
    assert not (place / FIGURES_FILE).exists()


def test_a_search_without_a_student_is_a_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Nothing:
        rounds = ended = None

    monkeypatch.setattr("bdistil.experiments.execute.launch_search", lambda *_, **__: Nothing)
    run = Run("tiny", CELL, 0, tiny("workers.count=0"))
    assert make_run(run, tmp_path).failed == "no round has a student"
    kept = stored(tmp_path / run.folder, run)
    assert kept is not None
    assert kept.failed == "no round has a student"


@pytest.mark.parametrize("name", ["spec.yaml", "config.json", "README.md"])
def test_a_folder_of_other_things_becomes_no_experiment(tmp_path: Path, name: str) -> None:
    (tmp_path / "tiny.yaml").write_text(tiny().to_yaml())
    cells = [{"space.skip": True}, {"space.skip": False}]
    plan = Plan.of("ablation", "?", [tmp_path / "tiny.yaml"], [], cells)
    folder = tmp_path / "used"
    folder.mkdir()
    (folder / name).write_text("of something else")
    with pytest.raises(SpecError, match="holds other files and no experiment"):
        plan.keep(folder)
    assert [path.name for path in folder.iterdir()] == [name]
    (folder / name).rename(folder / ".experiment.json.1234.partial")  # as a killed start leaves
    plan.keep(folder)
    plan.keep(folder)


def test_two_at_once_in_one_folder(tmp_path: Path, bdistil: Callable[..., Any]) -> None:
    spec, out = tmp_path / "tiny.yaml", tmp_path / "out"
    spec.write_text(tiny().to_yaml())
    with locked_folder(out, "experiment"):
        answer = bdistil("ablate", spec, "--vary", "space.skip=[true, false]", "--out", out)
    assert answer.status == 2
    assert f"another experiment is running in {out}; wait for it" in answer.errors
    assert [each.name for each in out.iterdir()] == [".lock"]


@pytest.mark.parametrize("command", ["ablate", "compare"])
def test_a_run_as_the_place_of_an_experiment_stays_as_it_is(
    command: str, tmp_path: Path, bdistil: Callable[..., Any]
) -> None:
    spec, out = tmp_path / "tiny.yaml", tmp_path / "out"
    spec.write_text(tiny().to_yaml())
    out.mkdir()
    (out / "spec.yaml").write_text("name: run\n")
    more = ("--vary", "space.skip=[true, false]") if command == "ablate" else ()
    answer = bdistil(command, spec, *more, "--out", out)
    assert answer.status == 2
    assert "holds other files and no experiment" in answer.errors
    assert [each.name for each in out.iterdir()] == ["spec.yaml"]


@pytest.mark.parametrize("damage", ["cut", "deep", "folder", "pipe"])
def test_a_damaged_plan_is_told(damage: str, tmp_path: Path) -> None:
    file = tmp_path / PLAN_FILE
    if damage == "folder":
        file.mkdir()
    elif damage == "pipe":
        os.mkfifo(file)  # which was waited for without end
    else:
        file.write_bytes(b"{" if damage == "cut" else b"[" * 100_000)
    with pytest.raises(SpecError, match=rf"{PLAN_FILE} (is damaged|cannot be read)"):
        Plan.read(tmp_path)


def test_data_that_are_gone_in_mid_experiment_are_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise DataError("the file does not exist")

    monkeypatch.setattr(execute, "outcome", fails)
    with pytest.raises(DataError):
        make_run(Run("tiny", CELL, 0, tiny("workers.count=0")), tmp_path)
    assert not list(tmp_path.rglob(FIGURES_FILE))
