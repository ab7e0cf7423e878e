"""Data larger than the memory: the same data set to the bit, but mapped from files."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bdistil.files.array_files as large
from bdistil.datasets.catalogue import load_dataset
from bdistil.errors import DataError, TeacherError
from bdistil.files import array_files
from bdistil.files.array_files import mapped_file, new_array
from bdistil.spec import DataSpec

ROWS = 300
rng = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "height": rng.normal(size=ROWS),
        "colour": rng.choice(["red", "blue"], ROWS),
        "size": pd.Categorical(rng.choice(["s", "m", "l"], ROWS)),
        "old": rng.integers(2, size=ROWS).astype(bool),
        "count": rng.integers(100, size=ROWS),
        "kind": rng.choice(["a", "b", "c"], ROWS),
        "g0": rng.normal(size=ROWS),
        "g1": rng.normal(size=ROWS),
        "g2": rng.normal(size=ROWS),
    }
)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(array_files, "BLOCK_BYTES", 7 * 4 * 5)
    monkeypatch.delenv(array_files.VARIABLE, raising=False)


def load(path, teacher=None, **settings):
    return load_dataset(DataSpec(path=path, **settings), 3, teacher)


def assert_same(one, other):
    for name in ("train", "validation", "test"):
        for field in ("x", "y", "teacher_outputs"):
            mine, yours = (getattr(getattr(data, name), field) for data in (one, other))
            assert (mine is None) == (yours is None)
            if mine is not None:
                np.testing.assert_array_equal(mine, yours)
    for field in ("shift", "scale"):
        mine, yours = (getattr(data.standardisation, field) for data in (one, other))
        np.testing.assert_array_equal(mine, yours)
    assert (one.columns, one.class_names, one.task) == (
        other.columns,
        other.class_names,
        other.task,
    )


@pytest.mark.parametrize("index", [None, pd.Index(range(5, 5 + ROWS), name="row")])
@pytest.mark.parametrize("label", ["kind", ["old", "kind2"], "height"])
def test_a_parquet_file_gives_the_same_in_pieces(tmp_path, monkeypatch, index, label):
    frame = FRAME.assign(kind2=FRAME["kind"] == "a")
    frame = frame if index is None else frame.set_index(index)
    frame.to_parquet(tmp_path / "mine.parquet", row_group_size=64)
    teacher = ["g0", "g1", "g2"][: {"kind": 3, "height": 1}.get(str(label), 2)]
    whole = load(tmp_path / "mine.parquet", teacher, label=label)
    monkeypatch.setattr(large, "LARGE_BYTES", 1)
    pieces = load(tmp_path / "mine.parquet", teacher, label=label)
    assert_same(whole, pieces)
    assert mapped_file(pieces.train.x)
    assert not mapped_file(whole.train.x)


def test_files_are_written_once_for_each_split_and_state_of_the_data(tmp_path, monkeypatch):
    monkeypatch.setattr(large, "LARGE_BYTES", 1)
    monkeypatch.setenv(array_files.VARIABLE, str(tmp_path / "cache"))
    path = tmp_path / "mine.parquet"
    FRAME.to_parquet(path)

    def folders():
        load(path, label="kind")
        return {file.parent: file.stat().st_mtime_ns for file in tmp_path.rglob("train.npy")}

    first = folders()
    assert folders() == first
    assert all(folder.parent == tmp_path / "cache" for folder in first)
    load_dataset(DataSpec(path=path, label="kind"), 4)
    FRAME.assign(height=0.5).to_parquet(path)
    assert len(folders()) == 3
    assert not list(tmp_path.rglob("*.part"))


def save(folder: Path, **arrays):
    folder.mkdir()
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    np.savez(folder.with_suffix(".npz"), **arrays)


@pytest.mark.parametrize("shape", [(3,), (4, 3), (1, 4, 4)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_a_folder_of_arrays_is_as_an_npz_file(tmp_path, shape, dtype):
    x = (100 * rng.random((ROWS, *shape))).astype(dtype)
    save(tmp_path / "mine", x=x, y=rng.integers(3, size=ROWS), teacher=rng.random((ROWS, 3)))
    mapped, whole = load(tmp_path / "mine"), load(tmp_path / "mine.npz")
    assert_same(mapped, whole)
    assert mapped_file(mapped.train.x)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"x": np.where(np.arange(900) == 700, np.nan, 1).reshape(300, 3)}, DataError, "1 missing"),
        ({"y": np.zeros(4)}, DataError, r"differ in length \(x: 300, y: 4\)"),
        ({"x": np.array([["a"]] * 300)}, DataError, "holds 'a' in row 0"),
        ({"x": np.array([[None]] * 300)}, DataError, "Python objects"),
        ({"teacher": np.zeros((300, 2))}, TeacherError, "2 outputs, but the label needs 3"),
    ],
)
def test_unfit_folders_are_explained(tmp_path, changes, error, message):
    arrays = {"x": rng.random((ROWS, 3)), "y": rng.integers(3, size=ROWS)} | changes
    (tmp_path / "mine").mkdir()
    for name, array in arrays.items():
        np.save(tmp_path / "mine" / f"{name}.npy", array, allow_pickle=True)
    with pytest.raises(error, match=rf"{tmp_path}/mine: .*{message}"):
        load(tmp_path / "mine")
    assert not [*tmp_path.rglob("*.part"), *tmp_path.rglob("train.npy")]


def test_a_folder_without_labels_or_features(tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(DataError, match="holds none of what can be read"):
        load(tmp_path / "mine")
    np.save(tmp_path / "mine" / "x.npy", np.zeros((9, 2)))
    with pytest.raises(DataError, match=r"array 'y' is missing \(there: x\)"):
        load(tmp_path / "mine")


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with (
        pytest.raises(DataError, match=r"file/a\.npy cannot be written .* BDISTIL_CACHE"),
        new_array(tmp_path / "file" / "a.npy", np.float32, (2,)),
    ):
        pass


def test_an_interrupted_writer_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), new_array(tmp_path / "a.npy", np.float32, (2,)):
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []


def test_only_whole_files_of_float32_count_as_mapped(tmp_path):
    with new_array(tmp_path / "a.npy", np.float32, (5, 2)) as array:
        array[:] = 1
    whole = array_files.mapped(tmp_path / "a.npy")
    assert mapped_file(whole) == tmp_path / "a.npy"
    others = [whole[1:], whole[:-1], whole[::2], np.array(whole), whole + 1]
    assert not any(map(mapped_file, others))
