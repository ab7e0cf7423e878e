"""Which steps belong together, and in which order: identifiers and times of any kind."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from series_tables import (
    COUNT,
    in_rows,
    load,
    saved,
    sorted_rows,
)
from tiny import tiny

from bdistil.cluster.launch import launch_search
from bdistil.datasets.catalogue import load_dataset
from bdistil.errors import DataError
from bdistil.export.predict import predict_file
from bdistil.spec import DataSpec


@pytest.mark.parametrize("ids", [("0.1", "0.10"), ("01", "1"), ("1", "1.0"), ("7", "7 x")])
def test_identifiers_of_texts_stay_apart(tmp_path: Path, ids: tuple[str, str]) -> None:
    """As numbers they would be one series, its steps mixed with the other's."""
    frame = in_rows()
    twins = (
        frame[frame["who"] == "003"].assign(who=ids[0], a=5.0),
        frame[frame["who"] == "006"].assign(who=ids[1], a=7.0),
    )
    both = pd.concat([frame, *twins])
    assert "steps of 62 series" in str(load(both, tmp_path / "a.csv", series="who", time="t").card)


@pytest.mark.parametrize("dtype", ["uint8", "bool"])
def test_falling_times_do_not_rise(tmp_path: Path, dtype: str) -> None:
    frame = in_rows()
    frame["t"] = (frame["t"].max() - frame["t"]).astype(int) % (256 if dtype == "uint8" else 2)
    dataset = load(frame.astype({"t": dtype}), tmp_path / "a.parquet", series="who")
    assert "rises" not in str(dataset.card)


def test_times_may_be_decimals_or_durations(tmp_path: Path) -> None:
    known = load(in_rows(), tmp_path / "a.parquet", series="who", time="t")
    shuffled = in_rows().sample(frac=1, random_state=3)
    for times in (shuffled["t"].map(Decimal), pd.to_timedelta(shuffled["t"], unit="s")):
        found = load(shuffled.assign(t=times), tmp_path / "b.parquet", series="who", time="t")
        np.testing.assert_array_equal(sorted_rows(found), sorted_rows(known))


def test_a_kept_time_is_sorted_as_before(tmp_path: Path) -> None:
    """Not as text, of which "10" comes before "8"."""
    frame = in_rows().assign(t=lambda f: f["t"] * 60_000 + 1_767_000_000_000)
    shuffled = frame.sample(frac=1, random_state=4)
    data = {"path": str(saved(shuffled, tmp_path / "a.csv")), "series": "who", "time": "t"}
    quick = ("teacher={model: cnn1d, epochs: 1}", "space.epochs=1", "space.student=cnn1d")
    spec = tiny(f"data={data}", *quick, "workers.count=0", "search.rounds=1")
    launch_search(spec, tmp_path / "run")
    plain = predict_file(tmp_path / "run", tmp_path / "a.csv")
    kept = predict_file(tmp_path / "run", tmp_path / "a.csv", keep=["t"])
    assert [row[-2:] for row in kept.rows] == [row[-2:] for row in plain.rows]
    assert [int(row[1]) for row in kept.rows] == [frame["t"].min()] * COUNT


@pytest.mark.parametrize(
    "times",
    [
        lambda t: (t * 100_000_000 + 202_600_000_000).astype(str),
        lambda t: (t * 2_592_000_000 + 1_725_000_000_000).astype(str),
        lambda t: pd.Series([2**60 + 50 * int(each) for each in t], t.index, dtype=object),
        lambda t: pd.to_datetime(t * 100, unit="ns", utc=True),
        lambda t: -(1000 - t),
        lambda t: (t / 2).astype(str),
    ],
)
def test_times_are_sorted_exactly(tmp_path: Path, times: Any) -> None:
    known = load(in_rows(), tmp_path / "a.parquet", series="who", time="t")
    frame = in_rows().sample(frac=1, random_state=5).assign(t=lambda f: times(f["t"]))
    found = load(frame, tmp_path / "b.parquet", series="who", time="t")
    np.testing.assert_array_equal(sorted_rows(found), sorted_rows(known))


@pytest.mark.parametrize("time", ["12-01", "soon", "1,5"])
def test_texts_that_are_no_times_are_refused(tmp_path: Path, time: str) -> None:
    frame = in_rows().astype({"t": str})
    frame.loc[3, "t"] = time
    message = rf"'t' holds '{time}', which is neither a number nor a time"
    with pytest.raises(DataError, match=message):
        load(frame, tmp_path / "a.parquet", series="who", time="t")


def test_binary_identifiers_stay_apart(tmp_path: Path) -> None:
    frame = in_rows().assign(who=lambda f: [bytes([0, 128 + int(w)]) for w in f["who"]])
    card = load(frame, tmp_path / "a.parquet", series="who", time="t").card
    assert "steps of 60 series" in str(card)


def test_folders_of_identifiers_stay_apart(tmp_path: Path) -> None:
    for name, part in in_rows().assign(who=lambda f: f["who"].str.lstrip("0")).groupby("who"):
        for folder in {name or "00", "01" if name == "1" else name or "00"}:
            (tmp_path / "p" / f"who={folder}").mkdir(parents=True)
            file = tmp_path / "p" / f"who={folder}" / "a.parquet"
            part.drop(columns="who").to_parquet(file)
    card = load_dataset(DataSpec(path=tmp_path / "p", series="who", time="t"), 0).card
    assert "steps of 61 series" in str(card)
