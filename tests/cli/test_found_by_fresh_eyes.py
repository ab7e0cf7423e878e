"""What the look before the end found: places, names and folders that are something else."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bdistil.cli.failures import check_arguments
from bdistil.core.student import StudentConfig
from bdistil.errors import BdistilWarning, CheckpointError, SpecError
from bdistil.export.checkpoint import build_student, student_from_bytes, student_to_bytes
from bdistil.files import class_folders
from bdistil.files.class_folders import visible
from bdistil.runs.open_round import OpenRoundFiles
from bdistil.runs.run_directory import RunDirectory
from bdistil.store.durable import check_place, write_atomic

Command = Callable[..., Any]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("t.csv", "t.csv is no Python file"),
        ("./t.csv", "t.csv is no Python file"),
        ("..", "is no Python file"),
        ("nowhere/else", "neither a Python file"),
        ("os.path:join", "neither a Python file"),
        ("a b", "neither a Python file"),
        ("x" * 300 + "!", "neither a Python file"),
        ("folder.py", "cannot be read (Is a directory)"),
    ],
)
def test_modules_that_are_none_are_not_looked_for(bdistil: Command, name: str, told: str) -> None:
    Path("t.csv").write_text("a,b\n1,2\n")
    Path("folder.py").mkdir()
    answer = bdistil("students", "--module", name)
    assert answer.status == 2
    assert told in answer.errors.replace("\n", " ")


def test_a_run_is_no_spec_and_a_file_no_run(bdistil: Command, run: Path) -> None:
    for command in ("search", "compare", "doctor"):
        answer = bdistil(command, run)
        assert answer.status == 2
        assert f"bdistil resume {run}" in answer.errors.replace("\n", "")
    answer = bdistil("resume", run / "spec.yaml")
    assert answer.status == 2
    assert "is no run directory but a file" in answer.errors.replace("\n", " ")


@pytest.mark.parametrize(
    "options",
    [
        ("--export", "a file"),
        ("--export", os.devnull),
        ("--plot", "a folder"),
        ("--plot", "a file/plot.svg"),
        ("--min-accuracy", "1.01"),
    ],
)
def test_places_and_limits_of_a_front_are_looked_at_before_it_is_measured(
    bdistil: Command, run: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    def measured(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr("bdistil.report.pareto.points_of", measured)
    Path("a file").write_text("")
    Path("a folder").mkdir()
    answer = bdistil("pareto", run, *options)
    assert answer.status == 2, answer.errors


def test_runs_of_one_name_are_refused_before_they_are_measured(
    bdistil: Command, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bdistil.report.pareto.points_of", None)
    answer = bdistil("pareto", run, run.parent / "other" / run.name, "--export", "front")
    assert answer.status == 2
    assert "two runs share a name" in answer.errors


@pytest.mark.parametrize("out", ["a folder", "a file/out.csv"])
def test_a_place_for_answers_is_looked_at_before_there_are_any(
    bdistil: Command, run: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    monkeypatch.setattr("bdistil.cli.predictions.predict_file", None)
    Path("a file").write_text("")
    Path("a folder").mkdir()
    np.save("x.npy", np.zeros((2, 16), np.float32))
    answer = bdistil("predict", run, "x.npy", "--out", out)
    assert answer.status == 2, answer.errors
    assert "cannot be written" in answer.errors


def test_places_that_are_to_be_made_are_places(tmp_path: Path) -> None:
    check_place(tmp_path / "new" / "file")
    check_place(tmp_path / "new", folder=True)
    check_place(tmp_path, folder=True)
    with pytest.raises(CheckpointError, match="a folder"):
        check_place(tmp_path)


def test_links_that_lead_back_are_told_and_left_out(tmp_path: Path) -> None:
    """Two of them are 2^40 ways for whoever follows both."""
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    (folder / "x.png").touch()
    (tmp_path / "elsewhere").symlink_to(folder)  # leads to a folder beside it
    (folder / "up").symlink_to(tmp_path)
    (folder / "itself").symlink_to(".")
    with pytest.warns(BdistilWarning, match="link to a folder that it lies in") as told:
        found = [str(path) for path, is_folder in islice(visible(tmp_path), 99) if not is_folder]
    assert found == ["a/b/x.png", "elsewhere/x.png"]
    assert len(told) == 4


def test_a_listing_that_takes_long_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(class_folders, "MANY", 10)
    for number in range(30):
        (tmp_path / f"{number}").mkdir()
        (tmp_path / f"{number}" / "x.png").touch()
    with pytest.warns(BdistilWarning) as told:
        assert len(list(visible(tmp_path))) == 60
    counts = [30, 60]  # it has seen
    assert [str(each.message) for each in told] == [
        f"{tmp_path} holds {count} files so far, and the listing goes on." for count in counts
    ]


@pytest.mark.parametrize("figure", ["loss", "metric", "edge"])
def test_a_journal_of_numbers_that_are_none_is_damaged(
    bdistil: Command, run: Path, figure: str
) -> None:
    journal = run / "rounds.jsonl"
    lines = journal.read_text().splitlines()
    record = json.loads(lines[1])
    record["trials"][0][figure] = math.nan
    journal.write_text("\n".join([lines[0], json.dumps(record), ""]))
    answer = bdistil("resume", run)
    assert answer.status == 2
    assert f"line 2 is damaged (trial 0: its {figure} is nan" in answer.errors.replace("\n", "")


def test_an_accepted_student_that_answers_nothing_is_refused() -> None:
    student = build_student(StudentConfig("mlp", 3, "none", True), (4,), 2, [])
    with torch.no_grad():
        next(student.parameters()).fill_(math.nan)
    with pytest.raises(CheckpointError, match="holds values that are not finite"):
        student_from_bytes(student_to_bytes(student), (4,), 2, [], "001.safetensors")


def test_folders_among_what_is_kept_of_an_open_round_stay(run: Path) -> None:
    files = OpenRoundFiles(RunDirectory(run))
    (files.path / "cohort-0001.json").mkdir(parents=True)
    (files.path / "cohort-0000.json").symlink_to("nowhere")
    files.clear()
    assert [file.name for file in files.path.iterdir()] == ["cohort-0001.json"]


def test_an_argument_in_another_encoding_than_python_was_told() -> None:
    text = "ü".encode().decode("ascii", "surrogateescape")
    with pytest.raises(SpecError, match=r"'ü' is in UTF-8.* set PYTHONUTF8=1"):
        check_arguments(["status", text])
    with pytest.raises(SpecError, match="is no text in UTF-8; rename"):
        check_arguments(["status", "\udcff"])


def test_files_are_for_whom_the_umask_lets_read_them(tmp_path: Path) -> None:
    for umask, mode in ((0o077, 0o600), (0o022, 0o644), (0o002, 0o664)):
        before = os.umask(umask)
        try:
            write_atomic(tmp_path / f"{mode}", b"")
        finally:
            os.umask(before)
        assert (tmp_path / f"{mode}").stat().st_mode & 0o777 == mode


def test_the_longest_names_can_be_written(tmp_path: Path) -> None:
    for name in ("x" * 255, "ü" * 127):
        write_atomic(tmp_path / name, b"whole")
        assert (tmp_path / name).read_bytes() == b"whole"


def test_many_answers_are_counted_while_they_come(
    bdistil: Command, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bdistil.export.predict.TELL_SECONDS", 0.0)
    np.save("x.npy", np.zeros((5000, 16), np.float32))
    answer = bdistil("predict", run, "x.npy", "--out", "y.csv")
    assert answer.status == 0, answer.errors
    assert answer.errors.splitlines()[:2] == ["4,096 rows answered", "5,000 rows answered"]
