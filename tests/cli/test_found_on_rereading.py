"""What a last look at the sentences and their causes found."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny import command

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
