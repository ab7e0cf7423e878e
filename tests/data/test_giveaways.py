"""Columns that tell the label by themselves are named."""

from __future__ import annotations

import shlex
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bdistil.data.dataset import Dataset
from bdistil.data.table import load_table
from bdistil.spec import DataSpec, load_spec

ROWS = 300
RANDOM = np.random.default_rng(0)
LABEL = RANDOM.integers(0, 3, ROWS)
AMOUNT = RANDOM.normal(size=ROWS)


def load(folder: Path, label: object, **columns: object) -> Dataset:
    frame = pd.DataFrame({"noise": RANDOM.normal(size=ROWS), **columns, "y": label})
    frame.to_parquet(folder / "mine.parquet", index=False)
    return load_table(DataSpec(path=folder / "mine.parquet", label="y"), seed=0)


def said(dataset: Dataset) -> list[str]:
    assert dataset.card is not None
    return [note for note in dataset.card.notes if "alone tell" in note]


TELLING = {
    "category": np.array(["low", "middle", "high"])[LABEL],
    "number": LABEL * 10 + RANDOM.integers(0, 4, ROWS),
    "real": LABEL + 0.3 * RANDOM.random(ROWS),
    "gap": np.where(LABEL == 1, np.nan, 5.0 + LABEL),
}


@pytest.mark.parametrize("kind", TELLING)
def test_a_column_that_gives_a_class_away_is_named(tmp_path: Path, kind: str) -> None:
    (note,) = said(load(tmp_path, LABEL, leak=TELLING[kind], other=RANDOM.random(ROWS)))
    assert note.startswith("leak alone tells y on validation: if it is known only afterwards")
    assert note.endswith("""('data.ignore=["leak"]')""")


def test_a_constant_column_and_a_flag_of_gaps_tell_nothing(tmp_path: Path) -> None:
    flag = np.where(RANDOM.random(ROWS) < 0.1, np.nan, 0.0)  # all 0 once gaps are filled
    once = np.eye(1, ROWS)[0]  # 0 in all training rows, perhaps
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not said(load(tmp_path, AMOUNT, flag=flag, once=once))
        assert not said(load(tmp_path, LABEL, flag=flag, once=once))


def test_the_remedy_keeps_what_is_ignored_and_can_be_pasted(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": AMOUNT, "id, old": TELLING["number"], "b": AMOUNT, "y": LABEL})
    frame.to_parquet(tmp_path / "mine.parquet", index=False)
    spec = DataSpec(path=tmp_path / "mine.parquet", label="y", ignore=["b"])
    (note,) = said(load_table(spec, seed=0))
    (override,) = shlex.split(note[note.index("(") + 1 : -1])
    data = {"path": str(tmp_path / "mine.parquet"), "label": "y"}
    assert load_spec({"data": data}, [override]).data.ignore == ["b", "id, old"]


def test_several_are_named_together(tmp_path: Path) -> None:
    (note,) = said(load(tmp_path, LABEL, **{name: TELLING[name] for name in ("real", "category")}))
    assert note.startswith("real, category each alone tell y on validation: if they are known only")


def test_an_amount_is_given_away_by_what_is_nearly_it(tmp_path: Path) -> None:
    (note,) = said(load(tmp_path, AMOUNT, gross=1.19 * AMOUNT + 0.01 * RANDOM.normal(size=ROWS)))
    assert note.startswith("gross alone tells y")
    assert not said(load(tmp_path, AMOUNT, near=AMOUNT + 0.5 * RANDOM.normal(size=ROWS)))


def test_what_merely_helps_is_not_named(tmp_path: Path) -> None:
    wrong = RANDOM.random(ROWS) < 0.1
    assert not said(load(tmp_path, LABEL, hint=np.where(wrong, 0, LABEL)))
    rare = np.arange(ROWS) % 50 == 0  # three of them in validation are right by chance too often
    assert not said(load(tmp_path, rare, hint=rare))


def test_labels_of_several_columns_are_not_looked_at(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": AMOUNT, "y": AMOUNT, "z": AMOUNT})
    frame.to_parquet(tmp_path / "mine.parquet", index=False)
    spec = DataSpec(path=tmp_path / "mine.parquet", label=["y", "z"])
    assert not said(load_table(spec, seed=0))
