"""Runs of students that only the user's own code knows: commands take it by --module."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.tiny import write_spec

STUDENT = """
from torch import nn
from bdistil.zoo import register_student

@register_student("mine", domains=("tabular",), lr=0.02, growth=1.25)
class Mine(nn.Module):
    def __init__(self, input_shape, width):
        super().__init__()
        self.features = width
        self.layer = nn.Linear(input_shape[0], width)

    def forward(self, x):
        return self.layer(x).relu()
"""
COMMANDS = {
    "status": [],
    "export": ["--out", "saved"],
    "bench": ["--seconds", "0.01"],
    "pareto": ["--runtime", "torch"],
}


def bdistil(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, which knows no student of another."""
    command = [sys.executable, "-m", "bdistil", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `run` lies, whose spec does not say where the student's code is."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "mine.py").write_text(STUDENT)
    spec = write_spec(folder, "workers.count=0", "space.student=mine", "search.rounds=1")
    done = bdistil(folder, "search", str(spec), "modules=[mine.py]", "--out", "run")
    assert done.returncode == 0, done.stderr
    kept = folder / "run" / "spec.yaml"
    lines = kept.read_text().splitlines(keepends=True)
    start = next(place for place, line in enumerate(lines) if line.startswith("modules:"))
    kept.write_text("".join(lines[:start] + lines[start + 2 :]))
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_a_module_is_imported_first(place: Path, command: str) -> None:
    options = COMMANDS[command]
    (place / "run" / "evaluation.json").unlink(missing_ok=True)  # status and report would read it
    refused = bdistil(place, command, "run", *options)
    assert refused.returncode == 2
    assert "--module FILE" in " ".join(refused.stderr.split())
    done = bdistil(place, command, "run", *options, "--module", "mine.py")
    assert done.returncode == 0, done.stderr
