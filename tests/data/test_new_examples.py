"""Files to predict: read as in training, batch by batch, with their labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from files_to_predict import read_all, read_batches
from tiny import tiny

from bdistil.cluster.launch import launch_search
from bdistil.data import new_examples
from bdistil.data.learn_columns import learn_columns
from bdistil.data.new_examples import read_new_examples
from bdistil.errors import DataError
from bdistil.files import array_files
from bdistil.runtime.manifest import Manifest

FRAME = pd.DataFrame(
    {
        "age": [30, 40, 50],
        "member": [True, False, True],
        "city": ["Paris", "Rome", "Oslo"],
        "label": ["no", "yes", "no"],
    }
)
COLUMNS = learn_columns(FRAME, ["age", "member", "city"], "label", np.arange(3))


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_tables_are_read_with_their_labels(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"new.{suffix}"
    FRAME.to_csv(path, index=False) if suffix == "csv" else FRAME.to_parquet(path)
    x, labels = read_all(path, COLUMNS)
    np.testing.assert_array_equal(x, COLUMNS.encode(FRAME))
    assert list(labels) == ["no", "yes", "no"]


def test_tables_without_label_are_read(tmp_path: Path) -> None:
    FRAME.drop(columns="label").to_csv(tmp_path / "new.csv", index=False)
    x, labels = read_all(tmp_path / "new.csv", COLUMNS)
    assert x.shape == (3, 5)
    assert labels is None


def test_arrays_are_read_with_or_without_labels(tmp_path: Path) -> None:
    images = np.ones((2, 1, 4, 4), np.uint8)
    np.savez(tmp_path / "a.npz", x=images, y=np.array([3, 4]))
    np.save(tmp_path / "a.npy", images)
    x, labels = read_all(tmp_path / "a.npz", None, (1, 4, 4))
    assert x.dtype == np.float32
    assert x.shape == images.shape
    assert labels.tolist() == [3, 4]
    x, labels = read_all(tmp_path / "a.npy", None, (1, 4, 4))
    assert x.shape == images.shape
    assert labels is None


@pytest.mark.parametrize(
    ("layout", "axes"), [("NFT", (0, 2, 1)), ("NTF", (0, 1, 2)), ("sequence", (0, 1, 2))]
)
def test_a_run_reads_files_to_predict_as_it_was_told_to_read_its_own(
    tmp_path: Path, layout: str, axes: tuple[int, ...]
) -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(90, 9, 9)).astype(np.float32), np.arange(90) % 3
    np.savez(tmp_path / "square.npz", x=x, y=y)
    data = f"{{path: {tmp_path / 'square.npz'}, layout: {layout}}}"
    quick = ("teacher={model: auto, epochs: 1}", "space.epochs=1", "space.student=cnn1d")
    launch_search(tiny(f"data={data}", *quick, "workers.count=0"), tmp_path / "run")
    expected = Manifest.read(tmp_path / "run" / "ensemble")
    new = read_new_examples(tmp_path / "square.npz", expected)
    np.testing.assert_array_equal(np.concatenate(list(new.batches)), x.transpose(axes))


def test_files_of_another_kind_than_in_training_are_refused(tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(DataError, match=r"a\.csv: training used arrays"):
        read_all(tmp_path / "a.csv", None, (3,))
    np.save(tmp_path / "a.npy", np.ones((3, 4)))
    with pytest.raises(DataError, match=r"a\.npy: an example has shape \(4,\).* or a table"):
        read_all(tmp_path / "a.npy", COLUMNS)
    np.savez(tmp_path / "b.npz", features=np.ones(3))
    with pytest.raises(DataError, match=r"array 'x' is missing \(there: features\)"):
        read_all(tmp_path / "b.npz", None, (3,))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((3, 2)), "y": np.zeros(2)}, r"'y' has shape \(2,\) for 3 examples"),
        ({"x": np.zeros((3, 2)), "y": np.zeros(())}, r"'y' has shape \(\) for 3 examples"),
        ({"x": np.zeros(())}, "'x' is one number"),
    ],
)
def test_arrays_that_do_not_fit_each_other(
    tmp_path: Path, arrays: dict[str, np.ndarray], message: str
) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=message):
        read_all(tmp_path / "a.npz", None, (2,))


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 40 rows of the five features, batches of 16."""
    monkeypatch.setattr(array_files, "BLOCK_BYTES", 5 * 5 * 4)
    monkeypatch.setattr(new_examples, "BATCH", 16)


@pytest.mark.parametrize("kind", ["csv", "parquet", "large parquet", "folder", "npz"])
def test_large_files_come_in_batches(
    tmp_path: Path, kind: str, small_pieces: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = pd.concat([FRAME] * 33, ignore_index=True).assign(age=np.arange(99))
    whole, path = COLUMNS.encode(frame), tmp_path / f"new.{kind.split()[-1]}"
    if kind == "csv":
        frame.to_csv(path, index=False)
    elif "parquet" in kind:
        frame.to_parquet(path, row_group_size=7)
    elif kind == "npz":
        np.savez(path, x=whole, y=frame["label"].to_numpy(str))
    else:
        path.mkdir()
        np.save(path / "x.npy", whole)
        np.save(path / "y.npy", frame["label"].to_numpy(str))
    monkeypatch.setattr(array_files, "LARGE_BYTES", 1 if "large" in kind else 2**40)
    batches, labels = read_batches(path, COLUMNS)
    assert len(batches) >= 99 / 16
    assert max(map(len, batches)) == 16
    np.testing.assert_array_equal(np.concatenate(batches), whole)
    assert list(labels) == list(frame["label"])


def test_no_examples_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((0, 3)))
    with pytest.raises(DataError, match="array 'x' has no rows; give one with examples"):
        read_batches(tmp_path / "x.npy", None, (3,))


def test_a_wrong_value_is_found_in_any_block(tmp_path: Path, small_pieces: None) -> None:
    frame = pd.concat([FRAME] * 33, ignore_index=True).assign(age=np.arange(99.0))
    frame.loc[83, "age"] = np.inf
    frame.to_parquet(tmp_path / "new.parquet")
    place = r"new\.parquet, from row 80 on: column 'age' has 1 infinite value in row 3 "
    with pytest.raises(DataError, match=place):
        read_all(tmp_path / "new.parquet", COLUMNS)
