"""What nobody foresaw, and code of users that misbehaves: one sentence, a status, nothing lost."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny import write_spec

Command = Callable[..., Any]


def test_a_fault_is_one_sentence_and_its_trace_is_kept(
    bdistil: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("nobody thought\nof this")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("bdistil.cli.inspect_command.import_modules", broken)
    answer = bdistil("students")
    assert answer.status == 3
    text = " ".join(answer.errors.split())
    assert "did not foresee (ZeroDivisionError: nobody thought of this)" in text
    assert "Traceback" not in text
    (file,) = tmp_path.glob("bdistil-fault-*.txt")
    assert file.name in answer.errors.replace("\n", "")
    assert ", in broken" in file.read_text()


STUDENT = """
import sys
from torch import nn
from bdistil.zoo import register_student

@register_student("{name}", domains=("tabular",), lr=0.02, growth=1.25)
def own(input_shape, width):
    {body}
"""
FACTORY = """
import sys
from torch import nn

class Leaves(nn.Module):
    def __init__(self, now=False):
        super().__init__()
        self.layer = nn.Linear(16, 4)
        if now:
            sys.exit(0)

    def forward(self, x):
        sys.exit("had enough")
"""
CASES = {
    "module": ({"own.py": "import sys; sys.exit(0)"}, ("modules=[own.py]",), "own.py cannot be"),
    "student": (
        {"own.py": STUDENT.format(name="leaves", body="sys.exit()")},
        ("modules=[own.py]", "space.student=leaves"),
        "'leaves' cannot be built with width 3 for inputs of shape (16,): it ends the program",
    ),
    "student that fails": (
        {"own.py": STUDENT.format(name="fails", body="raise Exception('no')")},
        ("modules=[own.py]", "space.student=fails"),
        "student 'fails' cannot be built with width 3 for inputs of shape (16,): no; correct",
    ),
    "factory": (
        {"net.py": FACTORY},
        ("teacher={model: 'net.py:Leaves', options: {now: true}}",),
        "it ends the program (sys.exit(0)); correct the options or the factory",
    ),
    "factory that fails": (
        {"net.py": "def make():\n    raise Exception('no such thing')"},
        ("teacher={model: 'net.py:make'}",),
        "cannot be built with teacher.options {}: no such thing",
    ),
    "file": (
        {"net.py": "import sys; sys.exit(7)"},
        ("teacher={model: 'net.py:make'}",),
        "net.py cannot be imported (SystemExit: it ends the program (sys.exit(7)))",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_code_of_users_that_ends_the_program_or_raises_anything(
    bdistil: Command, case: str, tmp_path: Path
) -> None:
    files, overrides, sentence = CASES[case]
    for name, text in files.items():
        Path(name).write_text(text)  # the fixture's folder is the current one
    spec = write_spec(tmp_path, "workers.count=0")
    answer = bdistil("search", spec, *overrides, "--out", tmp_path / "run")
    assert answer.status == 2
    assert sentence in " ".join(answer.errors.split())
    assert "Traceback" not in answer.errors
    assert not (tmp_path / "run" / "rounds.jsonl").exists()


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('"file":"students/', '"file":"../students/', "' is outside of the run directory)"),
        ('"file":"students/', '"file":"/etc/', "' is outside of the run directory)"),
        ('"sha256":', '"sha":', "line 1 is damaged (sha256: Field required)"),
    ],
)
def test_a_journal_of_something_else(
    bdistil: Command, run: Path, old: str, new: str, sentence: str
) -> None:
    journal = run / "rounds.jsonl"
    assert old in journal.read_text()
    journal.write_text(journal.read_text().replace(old, new))
    for command in ("status", "report"):
        answer = bdistil(command, run)
        assert answer.status == 2
        assert sentence in " ".join(answer.errors.split())


def test_what_stands_where_a_file_belongs(bdistil: Command, run: Path, tmp_path: Path) -> None:
    (run / "rounds.jsonl").unlink()
    (run / "rounds.jsonl").mkdir()
    answer = bdistil("status", run)
    assert (answer.status, "cannot be read (Is a directory)" in answer.errors) == (2, True)
    os.mkfifo(tmp_path / "pipe.csv")
    answer = bdistil("search", "--data", tmp_path / "pipe.csv", "--label", "y")
    assert (answer.status, "read only once; save a file" in answer.errors) == (2, True)
    answer = bdistil("search", write_spec(tmp_path, "workers.count=0"), "--out", 300 * "a")
    assert (answer.status, "has a name of 300 bytes" in answer.errors) == (2, True)


def test_too_little_memory_is_told(bdistil: Command, tmp_path: Path) -> None:
    spec = write_spec(tmp_path, "workers.count=0")
    answer = bdistil("search", spec, "teacher.options={widths: [100000000000]}")
    assert answer.status == 2
    assert "the memory is not enough" in " ".join(answer.errors.split())
