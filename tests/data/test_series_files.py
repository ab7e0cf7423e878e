"""Series in the archives' text format .ts."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import published_files as files
import pytest

from bdistil.datasets.catalogue import load_dataset
from bdistil.errors import DataError
from bdistil.files.series_files import read_ts
from bdistil.files.table_files import open_new_table
from bdistil.spec import DataSpec


def write(path: Path, rows: list, labels: str = "yes no") -> Path:
    path.write_text(files.series(rows, labels))
    return path


def test_channels_steps_and_labels(tmp_path: Path) -> None:
    rows = [([[1, 2, 3], [4, 5, 6]], "no"), ([[7], [8]], "yes")]
    archive = read_ts(write(tmp_path / "a.ts", rows))
    assert archive.series[0].tolist() == [[1, 4], [2, 5], [3, 6]]
    assert archive.series[1].tolist() == [[7, 8]]
    assert archive.class_names == ("yes", "no")
    assert archive.labels == ["no", "yes"]


def test_missing_values_are_kept(tmp_path: Path) -> None:
    (series,) = read_ts(write(tmp_path / "a.ts", [([["?", 2, "nan"]], "no")])).series
    np.testing.assert_array_equal(series[:, 0], [np.nan, 2, np.nan])


@pytest.mark.parametrize("row", ["a:yes", "1,2:3:yes", "1,2:maybe", "(0,1):yes", "yes"])
def test_unfit_series_are_shown(tmp_path: Path, row: str) -> None:
    write(tmp_path / "a.ts", []).open("a").write(row + "\n")
    with pytest.raises(DataError, match=rf"the series '{re.escape(row[:2])}.*is not of the form"):
        read_ts(tmp_path / "a.ts")


def test_files_without_labels_or_series(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no series"):
        read_ts(write(tmp_path / "a.ts", []))
    (tmp_path / "b.ts").write_text("@data\n1:yes\n")
    with pytest.raises(DataError, match="@classLabel"):
        read_ts(tmp_path / "b.ts")
    (tmp_path / "b.ts").write_text("@timestamps true\n@classlabel true a b\n@data\n(0,1):a\n")
    with pytest.raises(DataError, match="time stamps"):
        read_ts(tmp_path / "b.ts")
    with pytest.raises(DataError, match="cannot be read"):
        read_ts(tmp_path / "none.ts")


def test_train_and_test_files_are_a_data_set(tmp_path: Path) -> None:
    """As the archives publish them: in a folder, or named one by one."""
    random = np.random.default_rng(0)

    def rows(count: int) -> list:
        return [
            (random.normal(size=(2, 3 + i % 4)).round(3).tolist(), "yn"[i % 2])
            for i in range(count)
        ]

    train = write(tmp_path / "Mine_TRAIN.ts", rows(30), "y n")
    test = write(tmp_path / "Mine_TEST.ts", rows(10), "y n")
    named = load_dataset(DataSpec(path=train, test_path=test), 0)
    folder = load_dataset(DataSpec(path=tmp_path), 0)
    for dataset in (named, folder):
        assert dataset.input_shape == (6, 2)
        assert [len(s) for s in (dataset.train, dataset.validation, dataset.test)] == [24, 6, 10]
        assert dataset.padding == 0
    last = read_ts(test).series[-1]
    np.testing.assert_array_equal(named.test.x[-1][-len(last) :], last)
    np.testing.assert_array_equal(named.test.x, folder.test.x)


def test_files_without_labels_are_predicted(tmp_path: Path) -> None:
    """As `@classLabel false`, or with `?` for what is not known; also with a mark of UTF-8."""
    rows = "1,2:3,4\n5,6:7,8\n"
    (tmp_path / "a.ts").write_text("\ufeff@classLabel false\n@data\n" + rows)
    (tmp_path / "b.ts").write_text("@classLabel true y n\n@data\n" + rows.replace("\n", ":?\n"))
    bare, unknown = (open_new_table(tmp_path / name) for name in ("a.ts", "b.ts"))
    assert list(bare.columns) == ["channel_1", "channel_2"]
    assert unknown["label"].isna().all()
    for frame in (bare, unknown):
        assert [own.tolist() for own in frame["channel_2"]] == [[3, 4], [7, 8]]
    with pytest.raises(DataError, match="some files have classes, others"):
        load_dataset(DataSpec(path=tmp_path), 0)


def test_targets_are_numbers(tmp_path: Path) -> None:
    lines = ["@targetlabel true", "@data", *(f"{i},{i + 1},?:{i / 7}" for i in range(40))]
    (tmp_path / "a.ts").write_text("\n".join(lines))
    dataset = load_dataset(DataSpec(path=tmp_path / "a.ts"), 0)
    assert dataset.task == "regression"
    assert dataset.input_shape == (3, 2)  # the value, and where it is missing
    np.testing.assert_allclose(dataset.train.y[:, 0], dataset.train.x[:, 0, 0] / 7, rtol=1e-6)
    assert (dataset.train.x[:, :, 1] == [0, 0, 1]).all()
