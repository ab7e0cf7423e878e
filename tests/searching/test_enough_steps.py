"""Epochs that nobody chose: more of them where a training split is a few steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reporters import Heard

from bdistil.cluster.launch import launch_search
from bdistil.datasets.catalogue import load_dataset
from bdistil.runs.run_directory import RunDirectory
from bdistil.searching.enough_steps import told_epochs
from bdistil.searching.resolve import resolve
from bdistil.spec import Spec, load_spec


def spec_of(folder: Path, rows: int, **space: Any) -> Spec:
    path = folder / f"{rows}.npz"
    if not path.exists():
        x = np.random.default_rng(0).normal(size=(rows, 3)).astype(np.float32)
        np.savez(path, x=x, y=np.arange(rows) % 2)
    source = {
        "data": {"path": str(path), "validation": 0.25, "test": 0.25},
        "teacher": {"model": "mlp", "epochs": 2, "options": {"widths": [4]}},
        "space": {"student": "mlp", "ladder": [2], **space},
        "search": {"rounds": 1, "tries_per_class": 1},
        "workers": {"count": 0},
    }
    return load_spec(source)


@pytest.mark.parametrize(
    ("rows", "epochs", "steps"),
    [
        (20, 320, 1),  # 640 steps would be too many epochs
        (60, 320, 2),  # 30 to train on, 16 at once
        (320, 160, 4),  # 40 at once
        (1200, 128, 5),  # 128 at once
        (2000, None, 8),  # 640 steps in the 80 epochs of `accurate`
    ],
)
def test_few_examples_are_seen_more_often(
    tmp_path: Path, rows: int, epochs: int | None, steps: int
) -> None:
    spec = spec_of(tmp_path, rows)
    dataset = load_dataset(spec.data, spec.seed)
    decided = resolve(spec, dataset)
    assert decided.space.epochs == epochs
    told = told_epochs(spec, decided, dataset)
    if epochs is None:
        assert told is None
    else:
        assert told is not None
        assert f"epochs: {epochs} instead of 80, as {rows // 2} training" in told
        assert f"only {steps} step{'s' * (steps > 1)} each" in told
    assert spec.as_decided_in(decided).identity() == decided.identity()


@pytest.mark.parametrize("space", [{"epochs": 3}, {"recipe": "accurate"}, {"batch_size": 1}])
def test_what_was_chosen_stays(tmp_path: Path, space: dict[str, Any]) -> None:
    spec = spec_of(tmp_path, 60, **space)
    dataset = load_dataset(spec.data, spec.seed)
    decided = resolve(spec, dataset)
    assert decided.space.epochs == space.get("epochs")
    assert told_epochs(spec, decided, dataset) is None


def test_a_search_trains_so_long_and_goes_on(tmp_path: Path) -> None:
    heard = Heard()
    spec = spec_of(tmp_path, 60)
    launch_search(spec, tmp_path / "run", reporter=heard)
    assert "epochs: 320 instead of 80" in heard.said
    (record,) = RunDirectory(tmp_path / "run").journal.read()
    assert {trial.epochs for trial in record.trials} == {320}
    launch_search(spec, tmp_path / "run", reporter=heard)  # the same command again
