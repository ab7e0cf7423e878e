"""Series whose steps are vectors: lists of lists in a row, or a list in each step's row."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from series_tables import COUNT, LABELS, SERIES, expected, in_rows, load, saved, sorted_rows
from tiny import tiny

from bdistil import Predictor
from bdistil.cluster.launch import launch_search
from bdistil.datasets.catalogue import load_dataset
from bdistil.errors import DataError
from bdistil.export.predict import predict_file
from bdistil.runtime.columns import TableColumns
from bdistil.runtime.tables import as_table
from bdistil.spec import DataSpec


def nested() -> pd.DataFrame:
    return pd.DataFrame({"v": [x.tolist() for x in SERIES], "label": LABELS})


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_lists_of_lists_are_series_of_vectors(tmp_path: Path, suffix: str) -> None:
    frame = nested()
    dataset = load(frame, tmp_path / f"a.{suffix}")
    assert (dataset.domain, dataset.input_shape) == ("sequence", (7, 2))
    x = expected()
    np.testing.assert_array_equal(sorted_rows(dataset), x[np.lexsort(x[:, -1].T)])
    assert dataset.columns is not None
    arrays = {"v": [*SERIES]}
    for table in (
        frame,
        arrays,
        {"v": frame["v"].tolist()},
        as_table(pa.Table.from_pandas(frame)),
        as_table(frame.to_dict("records")),
        pd.read_parquet(_parquet(frame, tmp_path)),
    ):
        np.testing.assert_array_equal(dataset.columns.encode(table), x)
    alike = dataset.columns.encode({"v": np.stack([each[:3] for each in SERIES])})
    np.testing.assert_array_equal(
        alike[:, -3:], np.stack([each[:3] for each in SERIES]).astype(np.float32)
    )
    as_json = json.loads(json.dumps(asdict(dataset.columns)))
    assert TableColumns.of(as_json) == dataset.columns
    assert "lists of 2 numbers: v" in str(dataset.card)


def _parquet(frame: pd.DataFrame, folder: Path) -> Path:
    frame.to_parquet(folder / "again.parquet")
    return folder / "again.parquet"


def test_vectors_stand_beside_single_values(tmp_path: Path) -> None:
    frame = nested().assign(t=[list(range(len(x))) for x in SERIES], age=np.arange(COUNT) % 7)
    dataset = load(frame, tmp_path / "a.parquet")
    assert dataset.input_shape == (7, 4)
    assert dataset.columns is not None
    found = dataset.columns.encode(frame)
    names = [name for column in dataset.columns.features for name in column.feature_names]
    own = found[:, :, [names.index(f"v[{place}]") for place in range(2)]]
    np.testing.assert_array_equal(own, expected())
    assert (found[:, -1, names.index("t")] == [len(x) - 1 for x in SERIES]).all()


def test_rows_that_are_steps_hold_vectors(tmp_path: Path) -> None:
    rows = in_rows()
    frame = rows.assign(v=rows[["a", "b"]].to_numpy().tolist()).drop(columns=["a", "b"])
    frame = frame.sample(frac=1, random_state=1)
    dataset = load(frame, tmp_path / "a.parquet", series="who", time="t")
    x = expected()
    np.testing.assert_array_equal(sorted_rows(dataset), x[np.lexsort(x[:, -1].T)])
    assert dataset.columns is not None
    answered = dataset.columns.encode(frame)
    order = [int(who) for who in dict.fromkeys(frame["who"])]
    np.testing.assert_array_equal(answered, x[order])
    frame.at[frame.index[0], "v"] = [1.0]
    with pytest.raises(DataError, match=r"'v' holds a list of 1 in row 0 .* no list of 2 numbers"):
        dataset.columns.encode(frame)


def test_equally_many_may_be_pictures_and_are_asked_about(tmp_path: Path) -> None:
    frame = pd.DataFrame({"v": [x[:3].tolist() for x in SERIES], "label": LABELS})
    with pytest.raises(DataError, match=r"lists of lists .* or pictures; set data\.layout=seq"):
        load(frame, tmp_path / "a.parquet")
    dataset = load(frame, tmp_path / "a.parquet", layout="sequence")
    assert dataset.input_shape == (3, 2)
    beside = frame.assign(a=np.arange(COUNT) / 7)
    assert load(beside, tmp_path / "b.parquet", ignore=["v"]).input_shape == (1,)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([[1.0, 2.0], [1.0]], "of the steps in all lists, column 'v' holds a list of 1 in row 1"),
        ([1.0, 2.0], "of the steps in all lists, column 'v' holds 1 in row 0"),
        ([[[1.0], [2.0]]], "column 'v' holds lists in a list in row 0"),
        ([], "column 'v' holds an empty list in row 0"),
        ([[1.0, None]], "column 'v' has 1 missing value in row 0"),
        (None, "column 'v' holds nothing|no column holds lists"),
    ],
)
def test_new_ones_of_another_form_are_refused(tmp_path: Path, wrong: Any, message: str) -> None:
    columns = load(nested(), tmp_path / "a.parquet").columns
    assert columns is not None
    with pytest.raises(DataError, match=message):
        columns.encode({"v": [wrong]})


@pytest.mark.parametrize("odd", [[[1.0, 2.0], [3.0]], [[]], [[[1.0]]], [[1.0, 2.0], None]])
def test_steps_of_no_one_length_are_left_out(tmp_path: Path, odd: list[Any]) -> None:
    frame = nested().assign(a=np.arange(COUNT) / 7)
    frame.at[5, "v"] = odd
    (tmp_path / "a.json").write_text(json.dumps(frame.to_dict("records")))
    with pytest.warns(UserWarning, match="column 'v' is left out: lists or structures"):
        dataset = load_dataset(DataSpec(path=tmp_path / "a.json"), 0)
    assert dataset.input_shape == (1,)


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_predictions_carry_lists_as_json_writes_them(tmp_path: Path, suffix: str) -> None:
    data = saved(nested(), tmp_path / f"a.{suffix}")
    quick = ("teacher={model: cnn1d, epochs: 1}", "space.epochs=1", "space.student=cnn1d")
    path = f"data={{path: {str(data)!r}}}"
    launch_search(tiny(path, *quick, "workers.count=0", "search.rounds=1"), tmp_path / "run")
    found = predict_file(tmp_path / "run", data, keep=["v"])
    assert [json.loads(row[0]) for row in found.rows] == [x.tolist() for x in SERIES]
    answers = Predictor(tmp_path / "run").predict(expected())
    assert [row[1] for row in found.rows] == answers.tolist()
