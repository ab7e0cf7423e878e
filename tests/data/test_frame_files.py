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
    (path / "_SUCCESS").touch()


WRITE: dict[str, Callable[[Path], Any]] = {
    "pandas.feather": FRAME.to_feather,
    "polars.arrow": polars.from_pandas(FRAME).write_ipc,
    "polars.ipc": polars.from_pandas(FRAME).write_ipc_stream,
    "old.feather": lambda path: pyarrow.feather.write_feather(FRAME, path, version=1),
    "pandas.orc": FRAME.to_orc,
    "pandas.json": FRAME.to_json,
    "records.json": lambda path: FRAME.to_json(path, orient="records"),
    "lines.jsonl": lambda path: FRAME.to_json(path, orient="records", lines=True),
    "polars.ndjson": polars.from_pandas(FRAME).write_ndjson,
    "polars.json": polars.from_pandas(FRAME).write_json,
    "duckdb.json": lambda path: duckdb.sql(f"copy (from FRAME) to '{path}'"),
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
        ("a.jsonl", b'{"a": 1, "a": 2}', "column 'a' stands there 2 times"),
        ("a.jsonl", b'{"a": 1}\n{"a":', "damaged|cannot be read"),
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
    with pytest.raises(
        DataError, match=r"'image' holds whole files or bytes.*save the table as Pa"
    ):
        load(tmp_path / "mine.feather")


def test_kinds_are_not_mixed(tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "a.csv", index=False)
    FRAME.to_feather(tmp_path / "b.feather")
    with pytest.raises(DataError, match="there is both text and Arrow, ORC or JSON files"):
        load(tmp_path)
    (tmp_path / "a.csv").unlink()
    FRAME.to_json(tmp_path / "b.jsonl", orient="records", lines=True)
    with pytest.raises(DataError, match="both JSON and other files"):
        load(tmp_path)
