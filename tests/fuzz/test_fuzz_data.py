"""Tables, arrays, photographs and recordings of any content are read, or refused in a sentence."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import own_files
import pandas as pd
import pytest
from fuzzing import damaged, fuzz, right_or_one_sentence, write
from hypothesis import given
from hypothesis import strategies as st

from bdistil.data.sources import load_own
from bdistil.spec import DataSpec

pytestmark = pytest.mark.filterwarnings("ignore")  # what is noted or guessed is told by warnings
ROWS = 30


def read(path: Path, **settings: Any) -> None:
    with right_or_one_sentence():
        dataset = load_own(DataSpec(path=path, **settings), 0)
        for split in (dataset.train, dataset.validation, dataset.test):
            assert np.isfinite(split.x).all()
            assert len(split.x) == len(split.y) > 0


def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "a": rng.normal(size=ROWS),
            "b": rng.integers(5, size=ROWS),
            "city": rng.choice(["Oslo", "Rome", "São Paulo"], ROWS),
            "day": pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.integers(99, size=ROWS), "D"),
            "label": np.arange(ROWS) % 3,
        }
    )


def as_bytes(save: Callable[[Any], Any]) -> bytes:
    buffer = io.BytesIO()
    save(buffer)
    return buffer.getvalue()


FRAME = table()
FILES = {
    "csv": FRAME.to_csv(index=False).encode(),
    "tsv": FRAME.to_csv(index=False, sep="\t").encode(),
    "csv.gz": as_bytes(lambda file: FRAME.to_csv(file, index=False, compression="gzip")),
    "parquet": as_bytes(FRAME.to_parquet),
    "npz": as_bytes(
        lambda file: np.savez(file, x=FRAME[["a", "b"]].to_numpy("f4"), y=FRAME.label.to_numpy())
    ),
}
CELLS = st.one_of(
    st.sampled_from(("", " ", "NA", "nan", "1e999", "-inf", "1,5", "12%", "$3", "2026-02-30", '"')),
    st.text(max_size=8),
    st.floats().map(str),
    st.integers().map(str),
)


@fuzz(40)
@given(st.data())
@pytest.mark.parametrize("suffix", FILES)
def test_damaged_files(tmp_path_factory: Any, suffix: str, data: st.DataObject) -> None:
    content = data.draw(damaged(FILES[suffix]))
    read(write(tmp_path_factory.getbasetemp() / f"fuzzed.{suffix}", content))


@fuzz(40)
@given(
    st.lists(st.text(max_size=5), min_size=1, max_size=4),
    st.lists(st.lists(CELLS, min_size=1, max_size=5), max_size=12),
    st.sampled_from(",;\t"),
)
def test_tables_of_any_cells(
    tmp_path_factory: Any, names: list[str], rows: list[list[str]], separator: str
) -> None:
    lines = [separator.join([*names, "label"]), *(separator.join(row) for row in rows)]
    path = tmp_path_factory.getbasetemp() / "cells.csv"
    read(write(path, "\n".join(lines).encode("utf-8", "replace")))


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.floats(), st.text(max_size=3), st.dates()
)


@fuzz(120)
@given(st.dictionaries(st.text(max_size=4), st.lists(VALUES, min_size=8, max_size=8), max_size=3))
def test_frames_of_any_values(tmp_path_factory: Any, columns: dict[str, list[Any]]) -> None:
    frame = pd.DataFrame(columns | {"label": [0, 1] * 4})
    path = tmp_path_factory.getbasetemp() / "values.parquet"
    try:
        frame.to_parquet(path)
    except Exception:  # Arrow has no type for it
        return
    read(path)


@fuzz(60)
@given(st.sampled_from("?bhilefdUSMmOc"), st.lists(st.integers(0, 4), max_size=4), st.data())
def test_arrays_of_any_type_and_shape(
    tmp_path_factory: Any, kind: str, shape: list[int], data: st.DataObject
) -> None:
    x = np.zeros(shape, kind if kind not in "US" else f"{kind}3")
    y = data.draw(st.sampled_from((np.zeros(0), np.arange(len(x) if x.ndim else 1), np.array(3))))
    path = tmp_path_factory.getbasetemp() / "arrays.npz"
    np.savez(path, x=x, y=y)
    read(path, task=data.draw(st.sampled_from(("auto", "regression", "multilabel"))))


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return own_files.write_photographs(tmp_path_factory.mktemp("photographs"), 4, ".jpg")


@fuzz(60)
@given(st.data())
def test_damaged_photographs(photographs: Path, data: st.DataObject) -> None:
    file = data.draw(st.sampled_from(sorted(photographs.rglob("*.jpg"))))
    content = file.read_bytes()
    file.write_bytes(data.draw(damaged(content)))
    try:
        read(photographs)
    finally:
        file.write_bytes(content)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("torchaudio")
    return own_files.write_recordings(tmp_path_factory.mktemp("recordings"), 4)


@fuzz(60)
@given(st.data())
def test_damaged_recordings(recordings: Path, data: st.DataObject) -> None:
    file = data.draw(st.sampled_from(sorted(recordings.rglob("*.wav"))))
    content = file.read_bytes()
    file.write_bytes(data.draw(damaged(content)))
    try:
        read(recordings)
    finally:
        file.write_bytes(content)
