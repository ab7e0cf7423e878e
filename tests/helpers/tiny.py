"""A search small enough for tests: seconds on real Ray."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bdistil.runs.journal import RoundRecord
from bdistil.runs.run_directory import RunDirectory
from bdistil.spec import Spec, load_spec

PATIENCE = 600.0
"""Seconds from which on something hangs rather than that other work keeps the machine busy."""

TINY: dict[str, Any] = {
    "name": "tiny",
    "data": {"name": "cube", "options": {"examples": 600}},
    "teacher": {"model": "mlp", "options": {"widths": [16]}, "epochs": 5},
    "space": {
        "student": "mlp",
        "ladder": [3, 6],
        "epochs": 4,
        "connection": ["none", "dense", "gru"],
        "lr": {"low": 0.01, "high": 0.05, "log": True},
    },
    # The first weak learner and, as so few rows and epochs hardly make one, whatever is best.
    "search": {"rounds": 4, "tries_per_class": 2, "select": "first", "fallback": "best"},
    "workers": {"count": 1},
}


def tiny(*overrides: str) -> Spec:
    return load_spec(TINY, overrides)


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "bdistil", *map(str, arguments)]


def bdistil(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    options = {"capture_output": True, "text": True} | options
    return subprocess.run(command(*arguments), check=False, **options)


def write_spec(folder: Path, *overrides: str) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(tiny(*overrides).to_yaml())
    return path


def students(run: Path) -> dict[str, str]:
    """Hash of every student's file."""
    files = sorted((run / "students").iterdir())
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def winners(run: Path) -> list[tuple[int, dict[str, Any], str]]:
    """What decides whether two runs chose the same: number, sampled values, margin after it."""
    return [winner(record) for record in RunDirectory(run).journal.read()]


def winner(record: RoundRecord) -> tuple[int, dict[str, Any], str]:
    request = record.result.request
    return request.number, request.params, record.margin_sha256


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether what happens elsewhere comes true, however busy the machine is."""
    deadline = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()
