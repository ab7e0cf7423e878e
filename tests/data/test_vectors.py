"""Vectors in tables: lists of numbers, all of one length."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from series_tables import (
    COUNT,
    LABELS,
    RANDOM,
    load,
)

from bdistil.errors import DataError, SpecError
from bdistil.runtime.columns import TableColumns
from bdistil.runtime.tables import as_table


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_vectors_are_features(tmp_path: Path, suffix: str) -> None:
    matrix = RANDOM.normal(size=(COUNT, 5)).round(3).astype(np.float32)
    ages = np.arange(COUNT) % 7
    frame = pd.DataFrame({"v": matrix.astype(float).tolist(), "age": ages, "label": LABELS})
    dataset = load(frame, tmp_path / f"a.{suffix}", layout="vector")
    assert dataset.domain == "tabular"
    assert dataset.columns is not None
    expected_x = np.column_stack([matrix, ages]).astype(np.float32)
    arrow = pa.Table.from_pandas(frame)
    whole: dict[str, Any] = {"v": matrix, "age": ages}
    for table in (frame, whole, as_table(arrow), as_table(frame.to_dict("records"))):
        np.testing.assert_array_equal(dataset.columns.encode(table), expected_x)
    found = np.concatenate([split.x for split in (dataset.train, dataset.validation, dataset.test)])
    assert sorted(map(tuple, found)) == sorted(map(tuple, expected_x))
    names = [name for column in dataset.columns.features for name in column.feature_names]
    assert names == ["v[0]", "v[1]", "v[2]", "v[3]", "v[4]", "age"]
    assert "lists of 5 numbers: v" in str(dataset.card)
    as_json = json.loads(json.dumps(asdict(dataset.columns)))
    assert TableColumns.of(as_json) == dataset.columns
    ragged = {"v": [[1.0] * 5, [[1.0]] * 5], "age": [1, 2]}
    with pytest.raises(DataError, match="'v' holds lists in a list in row 1 "):
        dataset.columns.encode(ragged)
    for wrong, message in (
        ([1.0], "a list of 5 numbers a row"),
        (3.0, "3"),
        ([[1.0], [2.0], [3.0], [4.0], [5.0]], r"shape \(1, 5, 1\)"),
        ([None] * 5, "missing value"),
    ):
        with pytest.raises(DataError, match=rf"column 'v' h.* {message}"):
            dataset.columns.encode({"v": [wrong], "age": [1]})


def test_vectors_have_one_length_and_no_gaps(tmp_path: Path) -> None:
    frame = pd.DataFrame({"v": [[1.0 * n, 2.0] for n in range(COUNT)], "label": LABELS})
    frame.at[3, "v"] = [1.0]
    with pytest.raises(DataError, match="column 'v' holds lists of 1 to 2 numbers, no vectors"):
        load(frame, tmp_path / "a.parquet", layout="vector")
    frame.at[3, "v"] = [1.0, None]
    with pytest.raises(DataError, match="column 'v' has 1 missing value in row 3"):
        load(frame, tmp_path / "a.parquet", layout="vector")
    frame.at[3, "v"] = None
    with pytest.raises(DataError, match=r"column 'v' of lists has 1 missing value"):
        load(frame, tmp_path / "a.parquet", layout="vector")


def test_equal_vectors_stand_in_one_split(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"v": [[1.0 * (n // 2), n % 3] for n in range(90)], "label": np.arange(90) % 3}
    )
    frame.loc[1::2, ["v", "label"]] = frame.loc[::2, ["v", "label"]].to_numpy()
    dataset = load(frame, tmp_path / "a.parquet", layout="vector")
    assert "45 rows repeat the features" in str(dataset.card)
    assert "with a twin in training: none" in str(dataset.card)


def test_vectors_are_asked_for_where_there_are_some(tmp_path: Path) -> None:
    frame = pd.DataFrame({"age": np.arange(COUNT) % 7, "label": LABELS})
    with pytest.raises(SpecError, match=r"data\.layout is for .* is a table of single values"):
        load(frame, tmp_path / "a.csv", layout="vector")
