"""What a last look at the sentences and their causes found."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from deployed import config_to_change
from tiny import command, write_spec

from bdistil.datasets.catalogue import load_dataset
from bdistil.errors import CheckpointError
from bdistil.runtime.manifest import Manifest
from bdistil.searching.resolve import resolve
from bdistil.spec import load_spec

Command = Callable[..., Any]


def test_a_student_that_is_there_is_not_called_missing(bdistil: Command, run: Path) -> None:
    student = run / "students" / "001.safetensors"
    student.unlink()
    assert "001.safetensors is missing; restore it" in bdistil("resume", run).errors
    student.mkdir()
    answer = bdistil("resume", run)
    assert (answer.status, "missing" in answer.errors) == (2, False), answer.errors
    assert "001.safetensors cannot be read" in answer.errors.replace("\n", "")


def test_a_reader_that_has_gone_is_no_fault() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        command("students"), stdout=write, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("error", [BrokenPipeError(32, "Broken pipe"), EOFError("no more data")])
def test_what_typer_takes_for_the_end_of_a_terminal_is_told(
    bdistil: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception
) -> None:
    def broken(*_: Any) -> None:
        raise error

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("bdistil.cli.inspect_command.import_modules", broken)
    answer = bdistil("students")
    assert answer.status == 3
    assert f"did not foresee ({type(error).__name__}" in answer.errors


@pytest.mark.parametrize("workers", ["workers.count=100000", "search.cohort=1000000000"])
def test_a_resolved_search_can_be_read_again(workers: str) -> None:
    spec = load_spec({"data": {"name": "cube"}, "workers": {"count": 2}}, [workers])
    resolved = resolve(spec, load_dataset(spec.data, spec.seed))
    assert load_spec(resolved.model_dump(mode="json")) == resolved


def test_more_workers_than_there_are_anywhere_are_refused_before_anything_is_written(
    bdistil: Command, tmp_path: Path
) -> None:
    spec = write_spec(tmp_path)
    answer = bdistil("search", spec, "--out", tmp_path / "run", "workers.count=1000000000000")
    assert (answer.status, (tmp_path / "run").exists()) == (2, False)
    assert "workers.count is 1000000000000" in answer.errors


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("task", value) for value in ("nope", None, [])),
        *(("columns", value) for value in ({}, [], [1])),
        *(("calibration", value) for value in ({}, [])),
        *(("class_names", value) for value in ("abcd", ["a", "b", "c", 1])),
        *(("students", value) for value in ([1, 2, 3], {}, None)),
        *(("name", value) for value in (None, 1, ["a"])),
        *(("input_shape", value) for value in (None, "16", 16)),
        *(("figures", value) for value in ([], 1)),
    ],
)
def test_an_export_of_other_types_is_refused(
    finished_run: Path, tmp_path: Path, key: str, value: Any
) -> None:
    content = config_to_change(finished_run / "ensemble")
    (tmp_path / "config.json").write_text(json.dumps(content | {key: value}))
    with pytest.raises(CheckpointError, match=rf"config\.json is damaged.*{key}"):
        Manifest.read(tmp_path)


def test_a_place_for_figures_is_looked_at_before_they_are_measured(
    bdistil: Command, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(*_: Any) -> None:
        raise AssertionError("it has begun")

    monkeypatch.setattr("bdistil.report.bench.bench", measure)
    (tmp_path / "taken").write_text("")
    answer = bdistil("bench", run, "--out", tmp_path / "taken")
    assert (answer.status, "a file stands where a folder" in answer.errors) == (2, True)


def test_an_option_without_the_one_that_it_is_for_is_refused(bdistil: Command, run: Path) -> None:
    answer = bdistil("export", run, "--web-runtime", "somewhere", "--out", run / "other")
    assert (answer.status, "--web-runtime is for the page of --web" in answer.errors) == (2, True)
