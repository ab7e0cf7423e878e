"""Who has no teacher gets one, and is told where boosted trees would know clearly more."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bdistil.cluster.launch import launch_search
from bdistil.data.dataset import Split
from bdistil.datasets.catalogue import load_dataset
from bdistil.errors import BdistilWarning
from bdistil.spec import Spec, load_spec
from bdistil.teachers import yardsticks
from bdistil.teachers.yardsticks import has_yardstick, warn_if_trees_are_better

ROWS = 1500


def spec_of(folder: Path, kind: str, *overrides: str) -> Spec:
    """A label that hangs on exact numbers, such as an identifier's, or one that a line divides."""
    random = np.random.default_rng(0)
    shop = random.choice(10_000, 15, replace=False)
    value = random.normal(size=15)
    chosen = random.integers(0, 15, ROWS)
    x = random.normal(size=(ROWS, 2))
    frame = pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "shop": shop[chosen]})
    smooth = x[:, 0] - x[:, 1] + 0.5 * random.normal(size=ROWS)
    known = {"shops": value[chosen] > 0, "line": smooth > 0}
    known |= {"amounts": value[chosen] + 0.3 * random.normal(size=ROWS), "slope": smooth}
    frame.assign(y=known[kind]).to_parquet(folder / "mine.parquet", index=False)
    data = {"path": str(folder / "mine.parquet"), "label": "y"}
    return load_spec(
        {"data": data},
        ["workers.count=0", "teacher.epochs=15", "search.rounds=1", "space.epochs=2", *overrides],
    )


@pytest.mark.parametrize(("kind", "name"), [("shops", "Classifier"), ("amounts", "Regressor")])
def test_trees_that_know_more_are_named(tmp_path: Path, kind: str, name: str) -> None:
    spec = spec_of(tmp_path, kind)
    with pytest.warns(BdistilWarning, match=rf"boosted trees .*HistGradientBoosting{name}\)"):
        launch_search(spec, tmp_path / "run")


@pytest.mark.parametrize("kind", ["line", "slope"])
def test_a_teacher_that_is_as_good_is_let_be(tmp_path: Path, kind: str) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="boosted trees")
        launch_search(spec_of(tmp_path, kind), tmp_path / "run")


def test_a_teacher_of_ones_choice_is_not_measured(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="boosted trees")
        launch_search(spec_of(tmp_path, "shops", "teacher.model=mlp"), tmp_path / "run")


def test_what_would_take_long_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of(tmp_path, "shops")
    dataset = load_dataset(spec.data, 0)
    poor = {"validation": np.zeros((len(dataset.validation), 2), np.float32)}
    assert has_yardstick(dataset)
    monkeypatch.setattr(yardsticks, "WORK", 3 * yardsticks.ITERATIONS * 100)  # 100 rows of these
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_trees_are_better(dataset, poor)
    monkeypatch.setattr(yardsticks, "FEWEST_ROWS", 100)
    with pytest.warns(BdistilWarning, match="boosted trees"):
        warn_if_trees_are_better(dataset, poor)


def test_a_class_of_one_row_and_many_classes_end_no_search(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(20_000, 1))
    y = np.where(np.arange(len(x)) < 3, "rare", np.where(x[:, 0] > 0, "yes", "no"))
    pd.DataFrame({"a": x[:, 0], "y": y}).to_parquet(tmp_path / "rare.parquet")
    data = {"path": str(tmp_path / "rare.parquet"), "label": "y"}
    dataset = load_dataset(load_spec({"data": data}).data, 0)
    poor = {"validation": np.zeros((len(dataset.validation), 3), np.float32)}
    with pytest.warns(BdistilWarning, match="boosted trees as they come"):
        warn_if_trees_are_better(dataset, poor)
    many = dataclasses.replace(dataset, outputs=41)
    alike = Split(dataset.train.x, np.zeros_like(dataset.train.y))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_trees_are_better(many, poor)
        warn_if_trees_are_better(dataclasses.replace(dataset, train=alike), poor)
