"""What is read to predict means what it meant in training, whatever the file looks like."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from files_to_predict import read_all

from bdistil.data.labels import class_indices
from bdistil.data.learn_columns import learn_columns
from bdistil.errors import BdistilWarning, DataError
from bdistil.runtime.columns import TableColumns


def learnt(frame: pd.DataFrame, label: str = "label") -> TableColumns:
    names = [name for name in frame.columns if name != label]
    return learn_columns(frame, names, label, rows=np.arange(len(frame)))


@pytest.mark.parametrize("values", [["true", "false", "maybe"], ["007", "012", "x1"], ["1", "2"]])
def test_text_columns_stay_text_in_csv(tmp_path: Path, values: list[str]) -> None:
    frame = pd.DataFrame({"c": values, "label": values})
    columns = learnt(frame)
    some = frame.iloc[:2]
    some.to_csv(tmp_path / "some.csv", index=False)
    some.to_parquet(tmp_path / "some.parquet")
    as_csv, csv_labels = read_all(tmp_path / "some.csv", columns)
    as_parquet, parquet_labels = read_all(tmp_path / "some.parquet", columns)
    np.testing.assert_array_equal(as_csv, as_parquet)
    assert as_csv.sum() == 2
    for labels in (csv_labels, parquet_labels):
        assert labels is not None
        assert class_indices(labels, values).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("names", "written"),
    [
        (["0", "1"], ["1", "0"]),
        (["0", "1"], ["1.0", "0.0"]),
        (["False", "True"], ["true", "FALSE"]),
        (["False", "True"], ["True", "False"]),
    ],
)
def test_labels_read_as_text_are_known_again(names: list[str], written: list[str]) -> None:
    assert class_indices(np.array(written, object), names).tolist() == [1, 0]
    assert class_indices(np.array(["other"], object), names).tolist() == [-1]


def test_unseen_categories_are_told() -> None:
    columns = learnt(pd.DataFrame({"c": ["red", "blue"], "label": [0, 1]}))
    with pytest.warns(BdistilWarning, match=r"column 'c': 2 of 3 values .* such as 'green'"):
        encoded = columns.encode({"c": ["green", "red", "violet"]})
    assert encoded.sum(axis=1).tolist() == [0, 1, 0]


def test_digits_lost_in_float32_are_told() -> None:
    times = 1.7e9 + np.arange(300)
    with pytest.warns(BdistilWarning, match=r"column 't' has 300 different values, .* keeps only"):
        learnt(pd.DataFrame({"t": times, "label": 0}))


def test_whole_numbers_too_large_for_a_type_are_numbers() -> None:
    huge = pd.DataFrame({"n": [10**26, 2 * 10**26], "label": [0, 1]}, dtype=object)
    assert learnt(huge).encode(huge).ravel() == pytest.approx([1e26, 2e26])


@pytest.mark.parametrize("value", ["red", 3])
def test_one_value_instead_of_a_list(value: object) -> None:
    columns = learnt(pd.DataFrame({"c": ["red", "blue"], "label": [0, 1]}))
    with pytest.raises(DataError, match=r"column 'c' is .*, one value; give a list"):
        columns.encode({"c": value})
