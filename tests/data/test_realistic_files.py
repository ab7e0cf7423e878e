"""One customer table as twenty programs write it: read alike, or refused in one sentence."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bdistil.data.dataset import Dataset
from bdistil.data.sources import load_own
from bdistil.errors import DataError
from bdistil.spec import DataSpec

pytestmark = pytest.mark.filterwarnings("ignore::bdistil.errors.BdistilWarning")
ROWS = 90


def customers() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    days = pd.to_timedelta(rng.integers(900, size=ROWS), "D")
    frame = pd.DataFrame(
        {
            "customer_id": rng.permutation(np.arange(10_000, 10_000 + 7 * ROWS, 7)),
            "name": [f"Kundin Nr. {row} Ä" for row in range(ROWS)],
            "since": pd.Timestamp("2023-01-15") + days,
            "spent": rng.gamma(2, 50, ROWS).round(2),
            "visits": rng.integers(40, size=ROWS),
            "plan": rng.choice(["basic", "plus", "premium"], ROWS),
            "newsletter": rng.random(ROWS) < 0.5,
            "country": "DE",
            "churned": np.where(np.arange(ROWS) % 3 == 0, "yes", "no"),
        }
    )
    frame.loc[::11, "spent"] = np.nan
    return frame


FRAME = customers()
USED = {"since", "spent", "visits", "plan", "newsletter"}


def read(path: Path, **settings: Any) -> Dataset:
    return load_own(DataSpec(path=path, label="churned", **settings), 0)


def save_pandas_parquet(path: Path) -> Path:
    FRAME.set_index("customer_id").to_parquet(path / "t.parquet")
    return path / "t.parquet"


def save_pandas_nullable(path: Path) -> Path:
    FRAME.convert_dtypes().to_parquet(path / "t.parquet")
    return path / "t.parquet"


def save_pandas_categories(path: Path) -> Path:
    FRAME.astype({"plan": "category", "churned": "category"}).to_parquet(path / "t.pq")
    return path / "t.pq"


def save_pandas_arrow(path: Path) -> Path:
    FRAME.convert_dtypes(dtype_backend="pyarrow").to_parquet(path / "t.parquet")
    return path / "t.parquet"


def save_pandas_csv(path: Path) -> Path:
    FRAME.to_csv(path / "t.csv")  # with the row numbers that nobody asked for
    return path / "t.csv"


def save_pandas_csv_gz(path: Path) -> Path:
    FRAME.to_csv(path / "t.csv.gz", index=False)
    return path / "t.csv.gz"


def save_tsv(path: Path) -> Path:
    FRAME.to_csv(path / "t.tsv", index=False, sep="\t")
    return path / "t.tsv"


def save_quoted(path: Path) -> Path:
    FRAME.to_csv(path / "t.csv", index=False, quoting=csv.QUOTE_ALL)
    return path / "t.csv"


def save_r(path: Path) -> Path:
    FRAME.to_csv(path / "t.csv", na_rep="NA", quoting=csv.QUOTE_NONNUMERIC, index_label="")
    return path / "t.csv"


def save_sql(path: Path) -> Path:
    FRAME.to_csv(path / "t.csv", index=False, na_rep="NULL", date_format="%Y-%m-%d %H:%M:%S.000")
    return path / "t.csv"


def save_excel(path: Path) -> Path:
    FRAME.to_csv(path / "t.csv", index=False, sep=";", encoding="utf-8-sig", lineterminator="\r\n")
    return path / "t.csv"


def save_polars_parquet(path: Path) -> Path:
    pytest.importorskip("polars").from_pandas(FRAME).write_parquet(path / "t.parquet")
    return path / "t.parquet"


def save_polars_csv(path: Path) -> Path:
    pytest.importorskip("polars").from_pandas(FRAME).write_csv(path / "t.csv")
    return path / "t.csv"


def save_duckdb(path: Path, target: str, options: str) -> Path:
    duckdb = pytest.importorskip("duckdb")
    connection = duckdb.connect()
    connection.register("customers", pa.Table.from_pandas(FRAME))
    connection.execute(f"copy customers to '{path / target}' ({options})")
    return path / target


def save_duckdb_parquet(path: Path) -> Path:
    return save_duckdb(path, "t.parquet", "format parquet")


def save_duckdb_csv(path: Path) -> Path:
    return save_duckdb(path, "t.csv", "format csv, header")


def save_hive(path: Path) -> Path:
    pq.write_to_dataset(pa.Table.from_pandas(FRAME), path / "t", partition_cols=["plan"])
    return path / "t"


def save_spark(path: Path, suffix: str, write: Callable[[pd.DataFrame, Path], None]) -> Path:
    folder = path / "t"
    folder.mkdir()
    for number in range(3):
        part = folder / f"part-0000{number}-5d1c.c000{suffix}"
        write(FRAME.iloc[number * 30 : number * 30 + 30], part)
        (folder / f".{part.name}.crc").write_bytes(b"crc\x00")
    (folder / "_SUCCESS").touch()
    return folder


def save_spark_parquet(path: Path) -> Path:
    return save_spark(path, ".snappy.parquet", lambda f, p: f.to_parquet(p, index=False))


def save_spark_csv(path: Path) -> Path:
    return save_spark(path, ".csv", lambda f, p: f.to_csv(p, index=False))


def save_hub(path: Path) -> Path:
    folder = path / "t" / "data"
    folder.mkdir(parents=True)
    FRAME.iloc[:60].to_parquet(folder / "train-00000-of-00001.parquet", index=False)
    FRAME.iloc[60:].to_parquet(folder / "test-00000-of-00001.parquet", index=False)
    (path / "t" / "README.md").write_text("# a data set\n")
    return path / "t"


RIGHT = [
    *(save_pandas_parquet, save_pandas_nullable, save_pandas_categories, save_pandas_arrow),
    *(save_pandas_csv, save_pandas_csv_gz, save_tsv, save_quoted, save_r, save_sql, save_excel),
    *(save_polars_parquet, save_polars_csv, save_duckdb_parquet, save_duckdb_csv),
    *(save_hive, save_spark_parquet, save_spark_csv, save_hub),
]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    path = tmp_path_factory.mktemp("plain") / "t.parquet"
    FRAME.to_parquet(path, index=False)
    return read(path)


@pytest.mark.parametrize("save", RIGHT, ids=lambda save: save.__name__.removeprefix("save_"))
def test_the_table_is_the_same_whoever_wrote_it(
    plain: Dataset, save: Callable[[Path], Path], tmp_path: Path
) -> None:
    dataset = read(save(tmp_path))
    assert dataset.columns is not None
    assert plain.columns is not None
    assert {column.name for column in dataset.columns.features} == USED
    assert dataset.class_names == plain.class_names == ("no", "yes")
    widths = {column.name: column.width for column in dataset.columns.features}
    assert widths == {column.name: column.width for column in plain.columns.features}
    rows = np.concatenate([split.x for split in (dataset.train, dataset.validation, dataset.test)])
    assert len(rows) == ROWS
    by_name = dataset.columns.encode(FRAME)
    known = {tuple(row) for row in by_name.round(3).tolist()}
    assert {tuple(row) for row in rows.round(3).tolist()} == known
    notes = {note.name: note.use for note in dataset.card.columns} if dataset.card else {}
    assert "left out" in notes["name"]
    assert "left out" in notes["country"]


def test_decimal_commas_are_refused_with_the_remedy(tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "t.csv", index=False, sep=";", decimal=",", encoding="utf-8-sig")
    with pytest.raises(DataError, match="column 'spent'"):
        read(tmp_path / "t.csv")


def test_another_encoding_is_refused_with_the_remedy(tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "t.csv", index=False, encoding="latin-1")
    with pytest.raises(DataError, match="not UTF-8 text; save it as UTF-8"):
        read(tmp_path / "t.csv")
