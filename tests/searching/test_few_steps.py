"""Advice after searches of few examples that stayed below their goal."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reporters import Heard

from bdistil.cluster.launch import launch_search
from bdistil.runs.run_directory import RunDirectory
from bdistil.spec import Spec, load_spec


def spec_of(folder: Path, rows: int, keep: float = 1.0, **space: Any) -> Spec:
    """Labels that a teacher can learn, and students of one unit hardly."""
    random = np.random.default_rng(0)
    x = random.normal(size=(rows, 6)).astype(np.float32)
    y = (x[:, 0] > 0).astype(int) + 2 * (x[:, 1] * x[:, 2] > 0)
    np.savez(folder / "x.npz", x=x, y=y)
    source = {
        "data": {"path": str(folder / "x.npz"), "validation": 0.25, "test": 0.25},
        "teacher": {"model": "mlp", "epochs": 60},
        "space": {"student": "mlp", "ladder": [1], **space},
        "search": {"rounds": 1, "tries_per_class": 1},
        "goal": {"keep": keep, "within": 0.5},
        "workers": {"count": 0},
    }
    return load_spec(source)


@pytest.mark.parametrize(
    ("rows", "space", "said"),
    [
        (240, {"epochs": 20}, r"at most 80 steps, as 120 examples make 4 an epoch; .*epochs=160"),
        (2400, {"epochs": 20}, r"at most 200 steps, as 1,200 examples make 10 an epoch; .*=64"),
        (60, {"epochs": 20}, r"at most 40 steps, as 30 .* \(space.epochs=320\)"),
        (240, {"epochs": 20, "batch_size": 2}, None),  # 1,200 steps
    ],
)
def test_few_steps_are_told_below_the_goal(
    tmp_path: Path, rows: int, space: dict[str, Any], said: str | None
) -> None:
    heard = Heard()
    launch_search(spec_of(tmp_path, rows, **space), tmp_path / "run", reporter=heard)
    ended = RunDirectory(tmp_path / "run").journal.end()
    assert ended is not None
    assert ended.end != "goal"
    if said is None:
        assert "Students were trained for" not in heard.said
    else:
        assert re.search(said, heard.said), heard.said


def test_whoever_reached_the_goal_hears_nothing(tmp_path: Path) -> None:
    heard = Heard()
    spec = spec_of(tmp_path, 240, keep=0.1, epochs=20)
    launch_search(spec, tmp_path / "run", reporter=heard)
    ended = RunDirectory(tmp_path / "run").journal.end()
    assert ended is not None
    assert ended.end == "goal"
    assert "Students were trained for" not in heard.said
