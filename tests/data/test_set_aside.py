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
