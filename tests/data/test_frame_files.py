"""Arrow, Feather, ORC and JSON, as pandas, polars, DuckDB, Spark and others write them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars
import pyarrow as pa
import pyarrow.feather
import pyarrow.orc
import pytest

from bdistil.data.dataset import Dataset
from bdistil.data.sources import load_own
from bdistil.errors import DataError
from bdistil.files.table_files import open_new_table
from bdistil.spec import DataSpec

ROWS = 60
FRAME = pd.DataFrame(
    {
        "length": np.random.default_rng(0).normal(size=ROWS),
        "count": np.random.default_rng(1).integers(0, 9, ROWS),
        "colour": ["red", "blue", None] * (ROWS // 3),
        "big": [True, False] * (ROWS // 2),
        "label": ["yes", "no"] * (ROWS // 2),
    }
)


def stream(path: Path) -> None:
    """As ``datasets.Dataset.save_to_disk`` does, beside which it writes two files of JSON."""
    path.mkdir()
    table = pa.Table.from_pandas(FRAME, preserve_index=False)
    with pa.ipc.new_stream(path / "data-00000-of-00001.arrow", table.schema) as to:
        to.write_table(table)
    (path / "state.json").write_text('{"_split": null}')
    (path / "dataset_info.json").write_text("{}")


def spark_json(path: Path) -> None:
    """Which leaves out what is null."""
    path.mkdir()
    for part, rows in enumerate((FRAME[:25], FRAME[25:])):
        lines = [json.dumps(row.dropna().to_dict()) for _, row in rows.astype(object).iterrows()]
        (path / f"part-0000{part}.json").write_text("\n".join(lines) + "\n")
    (path / "part-00002.json").touch()
    (path / "_SUCCESS").touch()


def columns_of_lists() -> dict[str, list[Any]]:
    return {name: json.loads(FRAME[name].to_json(orient="values")) for name in FRAME}


WRITE: dict[str, Callable[[Path], Any]] = {
    "pandas.feather": FRAME.to_feather,
    "polars.arrow": polars.from_pandas(FRAME).write_ipc,
    "polars.ipc": polars.from_pandas(FRAME).write_ipc_stream,
    "old.feather": lambda path: pyarrow.feather.write_feather(FRAME, path, version=1),
    "pandas.orc": FRAME.to_orc,
    "pandas.json": FRAME.to_json,
    "index.json": lambda path: FRAME.to_json(path, orient="index"),
    "records.json": lambda path: FRAME.to_json(path, orient="records"),
    "lines.jsonl": lambda path: FRAME.to_json(path, orient="records", lines=True),
    "polars.ndjson": polars.from_pandas(FRAME).write_ndjson,
    "polars.json": polars.from_pandas(FRAME).write_json,
    "duckdb.json": lambda path: duckdb.sql(f"copy (from FRAME) to '{path}'"),
    "split.json": lambda path: FRAME.to_json(path, orient="split"),
    "table.json": lambda path: FRAME.to_json(path, orient="table"),
    "lists.json": lambda path: path.write_text(json.dumps(columns_of_lists())),
    "datasets": stream,
    "spark": spark_json,
}


def load(path: Path, **settings: Any) -> Dataset:
    return load_own(DataSpec(path=path, label="label", **settings), seed=0)


@pytest.mark.parametrize("name", WRITE)
def test_a_frame_is_the_same_from_every_form(tmp_path: Path, name: str) -> None:
    FRAME.to_parquet(tmp_path / "known.parquet", index=False)
    WRITE[name](tmp_path / name)
    known, found = load(tmp_path / "known.parquet"), load(tmp_path / name)
    assert found.class_names == known.class_names
    assert found.columns == known.columns
    for split in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(found, split).x, getattr(known, split).x)
        np.testing.assert_array_equal(getattr(found, split).y, getattr(known, split).y)
    new = open_new_table(tmp_path / name)
    assert known.columns is not None
    np.testing.assert_array_equal(known.columns.encode(new), known.columns.encode(FRAME))


def test_columns_named_by_numbers_are_no_rows(tmp_path: Path) -> None:
    names = [f"sample {number}" for number in range(40)]
    frame = pd.DataFrame({0: np.arange(40) / 7, 1: np.arange(40) % 5, 2: np.arange(40) % 2}, names)
    frame.to_json(tmp_path / "a.json")
    with pytest.warns(UserWarning, match="was the table's index"):
        dataset = load_own(DataSpec(path=tmp_path / "a.json", label="2"), seed=0)
    assert dataset.input_shape == (2,)


@pytest.mark.parametrize("suffix", ["feather", "json"])
def test_an_index_is_left_out_with_a_word(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"mine.{suffix}"
    if suffix == "json":
        FRAME.set_index(FRAME.index + 7).to_json(path)
    else:
        table = pa.Table.from_pandas(
            FRAME.set_index(pd.Index(7 * np.arange(ROWS) % 61, name="row"))
        )
        pyarrow.feather.write_feather(table, path)
    with pytest.warns(UserWarning, match="was the table's index and is left out"):
        dataset = load(path)
    assert dataset.columns is not None
    assert dataset.columns.names == ["length", "count", "colour", "big"]


def test_names_of_the_hubs_classes_are_kept(tmp_path: Path) -> None:
    features = {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
    frame = FRAME.assign(label=np.arange(ROWS) % 2)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    hub = {"huggingface": json.dumps({"info": {"features": features}})}
    pyarrow.feather.write_feather(table.replace_schema_metadata(hub), tmp_path / "mine.arrow")
    assert load(tmp_path / "mine.arrow").class_names == ("cat", "dog")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b"[1, 2]", "the JSON is no table; write an object a row"),
        ("a.json", b"3", "the JSON is no table"),
        ("a.jsonl", b'{"a": 1, "a": 2}', "an object names 'a' more than once"),
        ("a.jsonl", b'{"a": 1}\n{"a":', "line 2 is no JSON"),
        ("a.jsonl", b'{"a": "cut\\ud83d"}', r"the text 'cut\\ud83d' is cut within a character"),
        ("a.json", b"{}", "the JSON is no table"),
        ("a.json", b"[]", "the table has no rows"),
        ("a.arrow", b"ARROW1 and then nothing", "damaged|cannot be read"),
        ("a.arrow", b"nothing at all", "damaged|cannot be read"),
        ("a.orc", b"ORC and then nothing", "damaged|cannot be read"),
        ("a.feather", b"FEA1", "damaged|cannot be read"),
    ],
)
def test_what_is_no_table_is_refused_in_a_sentence(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        load(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_photographs_are_read_from_parquet_alone(tmp_path: Path) -> None:
    table = pa.table({"image": [{"bytes": b"\xff\xd8", "path": "a.jpg"}] * 9, "label": ["a"] * 9})
    pyarrow.feather.write_feather(table, tmp_path / "mine.feather")
    with pytest.raises(DataError, match=r"'image' holds photographs, .*save the table as Parquet"):
        load(tmp_path / "mine.feather")


def test_kinds_are_not_mixed(tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "a.csv", index=False)
    FRAME.to_feather(tmp_path / "b.feather")
    with pytest.raises(DataError, match=r"there is both text and Arrow, ORC, JSON or \.ts files"):
        load(tmp_path)
    (tmp_path / "a.csv").unlink()
    FRAME.to_json(tmp_path / "b.jsonl", orient="records", lines=True)
    with pytest.raises(DataError, match="files of several kinds"):
        load(tmp_path)


def write_parts(folder: Path, suffix: str) -> None:
    """One folder a year, as Hive, Spark and DuckDB lay them out."""
    for year, rows in (("2020", FRAME[:30]), ("2021", FRAME[30:])):
        place = folder / f"year={year}" / f"part.{suffix}"
        place.parent.mkdir(parents=True)
        if suffix == "parquet":
            rows.to_parquet(place)
        elif suffix == "csv":
            rows.to_csv(place, index=False)
        elif suffix == "jsonl":
            rows.to_json(place, orient="records", lines=True)
        else:
            rows.reset_index(drop=True).to_feather(place)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "arrow"])
def test_folders_of_parts_are_columns(tmp_path: Path, suffix: str) -> None:
    for name in ("parquet", suffix):
        write_parts(tmp_path / name, name)
    known, found = (load(tmp_path / name, ignore=["big"]) for name in ("parquet", suffix))
    assert known.columns is not None
    assert "year" in known.columns.names
    assert found.columns == known.columns
    np.testing.assert_array_equal(found.train.x, known.train.x)
    new = open_new_table(tmp_path / suffix)
    assert list(new["year"]) == [2020] * 30 + [2021] * 30


def test_an_empty_part_of_text_has_no_types(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    FRAME.to_csv(tmp_path / "parts" / "a.csv", index=False)
    FRAME[:0].to_csv(tmp_path / "parts" / "b.csv", index=False)
    FRAME.to_parquet(tmp_path / "known.pq", index=False)
    known, found = load(tmp_path / "known.pq"), load(tmp_path / "parts")
    np.testing.assert_array_equal(found.train.x, known.train.x)


def test_a_split_as_json_is_read_beside_json_lines(tmp_path: Path) -> None:
    for name in ("train.jsonl", "validation.jsonl"):
        FRAME.to_json(tmp_path / name, orient="records", lines=True)
    FRAME[:6].to_json(tmp_path / "test.json", orient="records")
    (tmp_path / "dataset_info.json").write_text('{"description": "mine"}')
    dataset = load(tmp_path)
    assert [len(each) for each in (dataset.train, dataset.validation, dataset.test)] == [60, 60, 6]


def test_large_numbers_beside_gaps_stay_what_they_are(tmp_path: Path) -> None:
    rows = [{"a": n, "label": [2**60, 2**60 + 1, None][n % 3]} for n in range(60)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert load(tmp_path / "a.jsonl", features=["a"]).class_names == (str(2**60), str(2**60 + 1))


def test_bytes_that_are_no_photographs_can_be_left_out(tmp_path: Path) -> None:
    codes = [bytes([n]) for n in range(ROWS)]
    counts = pa.array([{"binary": n} for n in range(ROWS)])
    table = pa.Table.from_pandas(FRAME, preserve_index=False)
    table = table.append_column("u", pa.array(codes)).append_column("s", counts)
    pyarrow.feather.write_feather(table, tmp_path / "mine.feather")
    with pytest.warns(UserWarning, match="'s' is left out: lists or structures"):
        dataset = load(tmp_path / "mine.feather", ignore=["u"])
    assert dataset.columns is not None
    assert dataset.columns.names == ["length", "count", "colour", "big"]


@pytest.mark.parametrize("suffix", ["parquet", "json"])
def test_numbers_as_texts_are_refused_where_they_are_many(tmp_path: Path, suffix: str) -> None:
    texts = [f"{n / 7:.3f}" for n in range(ROWS * 5)]
    frame = pd.DataFrame({"a": texts, "label": ["yes", "no"] * (len(texts) // 2)})
    path = tmp_path / f"mine.{suffix}"
    frame.to_parquet(path) if suffix == "parquet" else frame.to_json(path, orient="records")
    with pytest.raises(DataError, match=r"column 'a' holds numbers as texts, such as '0\.\d{3}'"):
        load(path)
