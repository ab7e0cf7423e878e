"""Columns that teach nothing are left out with a note, and come back by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bdistil.data.set_aside import reason_to_set_aside
from bdistil.data.table import load_table
from bdistil.errors import BdistilWarning
from bdistil.spec import DataSpec

ROWS = 60
RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("Id", np.arange(1, ROWS + 1), "row numbers"),
        ("x", RANDOM.permutation(ROWS) + 1000, "row numbers"),
        ("c", np.full(ROWS, 3), "the same in every row"),
        ("c", ["a"] * ROWS, "the same in every row"),
        ("name", [f"person {k} of {k % 7}" for k in range(ROWS)], "identifiers, another text"),
        ("CustomerID", 7 * np.arange(ROWS) + 3, "identifiers, another number"),
        ("user_id", 7 * np.arange(ROWS) + 3, "identifiers, another number"),
        ("pixels", 7 * np.arange(ROWS) + 3, None),
        ("avoid", 7 * np.arange(ROWS) + 3, None),
        ("x", RANDOM.normal(size=ROWS), None),
        ("age", RANDOM.integers(0, 90, ROWS), None),
        ("word", ["a", "b"] * (ROWS // 2), None),
        ("price", [f"{k},5" for k in range(ROWS)], None),
        ("ID", [5, 5, *(7 * np.arange(ROWS - 2))], "identifiers, another number in most rows"),
        ("patientId", [*range(0, 300, 10), *range(0, 300, 10)], None),
        ("index", [5, 5, *(7 * np.arange(ROWS - 2))], None),
        ("pixels", [5, 5, *(7 * np.arange(ROWS - 2))], None),
        ("title", ["Anna", "Anna", *(f"n{k}" for k in range(118))], "119 different texts in 120"),
        ("title", [None, *(f"n{k}" for k in range(119))], "120 different texts in 120 rows"),
        ("cabin", [*[None] * 300, *(f"c{k}" for k in range(200))], None),
        ("few", ["a", "a", *(f"n{k}" for k in range(98))], None),
    ],
)
def test_what_is_no_feature(name: str, values: Any, reason: str | None) -> None:
    found = reason_to_set_aside(pd.Series(values, name=name))
    assert found is None if reason is None else (found or "").startswith(reason)


def test_a_few_rows_may_be_consecutive_by_chance() -> None:
    assert reason_to_set_aside(pd.Series(range(5), name="x")) is None


def test_row_numbers_of_a_table_sorted_by_class_give_nothing_away(tmp_path: Path) -> None:
    frame = pd.DataFrame(RANDOM.normal(size=(ROWS, 3)), columns=["a", "b", "c"])
    frame.insert(0, "Id", np.arange(1, ROWS + 1))
    frame.assign(kind=np.sort(np.array(["s", "v", "w"] * (ROWS // 3)))).to_csv(
        tmp_path / "t.csv", index=False
    )
    spec = DataSpec(path=tmp_path / "t.csv", label="kind")
    with pytest.warns(BdistilWarning, match="'Id' is left out: row numbers; name it in data.feat"):
        dataset = load_table(spec, seed=0)
    assert dataset.columns is not None
    assert dataset.columns.names == ["a", "b", "c"]
    assert "left out, row numbers" in str(dataset.card)
    named = load_table(spec.model_copy(update={"features": ["Id", "a"]}), seed=0)
    assert named.columns is not None
    assert named.columns.names == ["Id", "a"]


def test_identifiers_that_repeat_are_named_as_possible_groups(tmp_path: Path) -> None:
    frame = pd.DataFrame(RANDOM.normal(size=(ROWS, 2)), columns=["a", "b"])
    frame = frame.assign(shop_id=np.arange(ROWS) // 3 * 7, y=["s", "v"] * (ROWS // 2))
    frame["ID"] = 5 * RANDOM.permutation(ROWS)
    frame.loc[0, "ID"] = frame.loc[1, "ID"]
    frame.to_csv(tmp_path / "t.csv", index=False)
    spec = DataSpec(path=tmp_path / "t.csv", label="y")
    with pytest.warns(BdistilWarning, match="'ID' is left out: identifiers, another number in mo"):
        dataset = load_table(spec, seed=0)
    assert dataset.columns is not None
    assert dataset.columns.names == ["a", "b", "shop_id"]
    said = "\n".join(dataset.card.notes)
    assert "shop_id has 20 values: if they are people, places or devices, data.group=shop_" in said
    assert f"ID has {ROWS - 1} values" in said
    grouped = load_table(spec.model_copy(update={"group": "shop_id", "ignore": ["ID"]}), seed=0)
    assert "has 20 values" not in "\n".join(grouped.card.notes)
    assert grouped.columns is not None
    assert grouped.columns.names == ["a", "b"]
