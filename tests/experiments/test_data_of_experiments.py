"""An experiment's own data: other files than it began with, or none, are told in a sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from test_ablation import made_up
from tiny import tiny

from bdistil.errors import DataError
from bdistil.experiments import execute
from bdistil.experiments.data_files import (
    DATA_FILE,
    check_there,
    check_unchanged,
    hashes_of,
    recorded,
)
from bdistil.experiments.design import Run, runs_of
from bdistil.experiments.plan import Plan
from bdistil.experiments.write_up import write_up
from bdistil.store.durable import write_atomic

CELLS = [{"space.skip": True}, {"space.skip": False}]


def table(path: Path, shift: float = 0.0) -> Path:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(shift, size=(60, 3)), columns=list("abc"))
    frame.assign(label=np.arange(60) % 2).to_csv(path, index=False)
    return path


def runs_on(path: Path, name: str = "ml", seeds: int = 1) -> list[Run]:
    source = tiny(f"name={name}").model_dump(mode="json") | {"data": {"path": str(path)}}
    return runs_of([source], CELLS, range(seeds))


def end(run: Run, out: Path) -> None:
    write_atomic(out / run.folder / execute.FIGURES_FILE, b"{}")


def test_a_changed_file_is_refused_where_a_run_of_it_has_ended(tmp_path: Path) -> None:
    file, out = table(tmp_path / "ml.csv"), tmp_path / "abl"
    runs = runs_on(file)
    check_unchanged(runs, out)
    table(file, 1.0)
    check_unchanged(runs, out)  # nothing has ended: the experiment begins with this
    kept = recorded(out)
    assert kept == hashes_of(runs, out)
    end(runs[0], out)
    check_unchanged(runs, out)
    table(file)
    with pytest.raises(DataError) as told:
        check_unchanged(runs_on(file, seeds=2), out)
    assert str(told.value) == (
        f"{file} has changed since the experiment in {out} began; restore it, or choose another "
        "--out."
    )
    assert recorded(out) == kept
    table(file, 1.0)
    check_unchanged(runs_on(file, seeds=2), out)


def test_runs_of_a_space_with_a_like_name_do_not_count(tmp_path: Path) -> None:
    file, out = table(tmp_path / "ml.csv"), tmp_path / "abl"
    check_unchanged(runs_on(file), out)
    end(runs_on(file, "ml-2")[0], out)
    table(file, 1.0)
    check_unchanged(runs_on(file), out)


def test_a_folder_of_files_is_known_by_names_and_contents(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    out = folder / "out"  # which is no part of the data
    (folder / "b").mkdir(parents=True)
    (folder / "b" / "1.csv").write_text("a")
    (folder / ".bdistil").mkdir()
    runs = runs_on(folder)
    before = hashes_of(runs, out)
    write_atomic(out / "curves.parquet", b"1")
    (folder / ".bdistil" / "cache").write_text("2")
    assert hashes_of(runs, out) == before
    (folder / "b" / "1.csv").rename(folder / "b" / "2.csv")
    renamed = hashes_of(runs, out)
    (folder / "b" / "2.csv").write_text("b")
    assert len({json.dumps(each) for each in (before, renamed, hashes_of(runs, out))}) == 3


def test_each_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []

    def counted(path: Path, _: Path) -> str:
        read.append(path)
        return "0"

    monkeypatch.setattr("bdistil.experiments.data_files.sha256_of", counted)
    file = table(tmp_path / "ml.csv")
    check_unchanged(runs_on(file, seeds=5) + runs_on(file, "two"), tmp_path / "abl")
    assert read == [file]


def test_named_data_sets_have_no_hash(tmp_path: Path) -> None:
    check_unchanged(runs_of([tiny().model_dump(mode="json")], CELLS, [0]), tmp_path)
    assert not (tmp_path / DATA_FILE).exists()


@pytest.mark.parametrize("content", ["{", "[]", '{"ml": 1}'])
def test_damaged_hashes_are_told(content: str, tmp_path: Path) -> None:
    (tmp_path / DATA_FILE).write_text(content)
    with pytest.raises(DataError, match=rf"{DATA_FILE} is damaged; restore it, or delete it if"):
        check_unchanged(runs_on(table(tmp_path / "ml.csv")), tmp_path)


def test_the_command_refuses_changed_data(
    tmp_path: Path, bdistil: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two data sets were mixed in one table, without a word."""
    file, spec, out = table(tmp_path / "ml.csv"), tmp_path / "ml.yaml", tmp_path / "abl"
    spec.write_text(tiny("name=ml", f"data={{path: {file}}}").to_yaml())
    found = made_up(0.05, seeds=2)
    executed: list[int] = []

    def instead(runs: list[Run], folder: Path, *_: Any) -> Any:
        executed.append(len(runs))
        for run in runs:
            end(run, folder)
        return found

    monkeypatch.setattr(execute, "execute", instead)
    command = ("ablate", spec, "--vary", "space.skip=[true, false]", "--out", out, "--seeds")
    assert bdistil(*command, 1).status == 0
    assert bdistil(*command, 2).status == 0
    table(file, 1.0)
    refused = bdistil(*command, 3)
    assert refused.status == 2
    assert f"{file} has changed since the experiment in {out} began; restore" in refused.errors
    assert executed == [2, 4]


def committed(folder: Path, path: str) -> Path:
    """An experiment's folder as if it had been run on a file."""
    spec = folder.parent / "one.yaml"
    spec.write_text(tiny("name=one", f"data={{path: {path}}}").to_yaml())
    cells = [{"space.recipe": name} for name in ("accurate", "paper")]
    plan = Plan.of("ablation", "?", [spec], [], cells)
    plan.keep(folder)
    check_unchanged(plan.runs([0]), folder)
    write_up([each for each in made_up(0.05) if each.data == "one"], folder, "?")
    return folder


def test_a_reproduction_far_from_its_data_says_where_to_run_it(
    tmp_path: Path, bdistil: Callable[..., Any]
) -> None:
    folder = committed(tmp_path / "abl", "ml.csv")
    answer = bdistil("reproduce", folder, "--out", tmp_path / "again")
    assert answer.status == 2
    assert (
        "data.path of one is ml.csv, which is not there; run the command from the folder where the "
        "experiment began, or put the file there." in answer.errors
    )
    assert not (tmp_path / "again").exists()


def test_runs_that_have_ended_need_no_data(tmp_path: Path) -> None:
    runs = runs_on(tmp_path / "gone.csv")
    for run in runs:
        end(run, tmp_path)
    check_there(runs, tmp_path)
    check_unchanged(runs, tmp_path)
    with pytest.raises(DataError, match=r"gone\.csv, which is not there"):
        check_there(runs_on(tmp_path / "gone.csv", seeds=2), tmp_path)


def test_a_teachers_file_that_is_gone_is_named(tmp_path: Path) -> None:
    teacher = {"model": str(tmp_path / "teacher.onnx")}
    source = tiny("name=one").model_dump(mode="json") | {"teacher": teacher}
    with pytest.raises(DataError, match=r"teacher\.model of one is .*teacher\.onnx, which is not"):
        check_there(runs_of([source], CELLS, [0]), tmp_path)


@pytest.mark.parametrize("other", [True, False])
def test_a_reproduction_on_other_data_says_so(
    other: bool, tmp_path: Path, bdistil: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = table(tmp_path / "ml.csv")
    folder = committed(tmp_path / "abl", str(file))
    if other:
        table(file, 1.0)
    found = [each for each in made_up(0.05) if each.data == "one"]
    monkeypatch.setattr(execute, "execute", lambda *_: found)
    answer = bdistil("reproduce", folder, "--out", tmp_path / "again")
    assert answer.status == 0, answer.errors
    notice = f"{file} has changed since the experiment in {folder} began."
    assert (notice in answer.printed) is other
    assert answer.printed.splitlines()[-1].startswith("Reproduces: all 2 means")
