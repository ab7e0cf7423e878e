"""Several labels at once: in columns of a table, or in the columns of an array."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdistil.data.label_columns import encode_label_columns, indicators
from bdistil.datasets.catalogue import load_dataset
from bdistil.errors import DataError, SpecError, TeacherError
from bdistil.spec import DataSpec

ROWS = 40
rng = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "size": rng.normal(size=ROWS),
        "red": rng.integers(2, size=ROWS),
        "round": rng.integers(2, size=ROWS).astype(bool),
        "weight": rng.normal(size=ROWS),
        "grade": rng.integers(4, size=ROWS),
        "name": ["x", "y"] * (ROWS // 2),
    }
)


def load(path: Path, frame: pd.DataFrame, label, teacher=None, **settings):
    frame.to_csv(path / "own.csv", index=False)
    return load_dataset(DataSpec(path=path / "own.csv", label=label, **settings), 0, teacher)


@given(labels=st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=2))
def test_every_way_to_write_labels_gives_the_same(labels):
    y = np.vstack([labels, [[True] * 3, [False] * 3]])
    ways = (y, y.astype(np.int8), y.astype(float), y.astype(str), y.astype(int).astype(str))
    for way in (*ways, np.char.lower(y.astype(str)), y.astype(object)):
        columns = {name: way[:, index] for index, name in enumerate("abc")}
        encoded = encode_label_columns(columns, "auto", "label column")
        assert encoded.class_names == ("a", "b", "c")
        assert encoded.y.dtype == np.float32
        np.testing.assert_array_equal(encoded.y, y)


def test_what_is_no_label_is_unknown():
    found = indicators(np.array(["1", "TRUE", "no", "2", "nan", "0.0", "1e-9"], dtype=object))
    np.testing.assert_array_equal(found, [1, 1, np.nan, np.nan, np.nan, 0, np.nan])
    assert np.isnan(indicators(np.array([1 + 1e-12]))).all()


def test_a_table_with_several_label_columns(tmp_path):
    data = load(tmp_path, FRAME, ["round", "red"], ignore=["name"])
    assert (data.task, data.outputs, data.class_names) == ("multilabel", 2, ("round", "red"))
    assert data.input_shape == (3,)  # size, weight, grade
    assert data.columns.label == ("round", "red")
    rows = np.concatenate([data.train.x[:, 0], data.validation.x[:, 0], data.test.x[:, 0]])
    labels = np.concatenate([data.train.y, data.validation.y, data.test.y])
    order = np.argsort(FRAME["size"].to_numpy())
    np.testing.assert_array_equal(
        labels[np.argsort(rows)], FRAME[["round", "red"]].to_numpy(float)[order]
    )


def test_a_list_of_one_column_is_that_column(tmp_path):
    one, listed = (load(tmp_path, FRAME, label) for label in ("grade", ["grade"]))
    np.testing.assert_array_equal(one.train.y, listed.train.y)
    assert one.columns == listed.columns
    single = load(tmp_path, FRAME, "red", task="multilabel")
    assert (single.task, single.train.y.shape[1], single.class_names) == ("multilabel", 1, ("red",))


def test_quantities_are_targets_of_one_regression(tmp_path):
    data = load(tmp_path, FRAME, ["size", "weight"])
    assert (data.task, data.outputs, data.class_names) == ("regression", 2, None)
    asked = load(tmp_path, FRAME, ["red", "weight"], task="regression")
    assert asked.task == "regression"


@pytest.mark.parametrize(
    ("changes", "label", "settings", "message"),
    [
        (
            {},
            ["red", "grade"],
            {},
            r"label column 'grade' holds '\d' in row \d+ \(counted from 0\)",
        ),
        ({"red": ["yes"] * ROWS}, ["red", "round"], {}, "'red' holds 'yes' in row 0 .* true or"),
        ({"red": [0, None] * 20}, ["red", "round"], {}, "'red' has 20 missing values, .* row 1"),
        ({"red": [0] * ROWS}, ["red", "round"], {}, "'red' holds only 0, so there is nothing"),
        ({"red": [0.5, 1] * 20}, ["red"], {"task": "multilabel"}, "'red' holds '0.5' in row 0"),
        ({}, ["red", "name"], {"task": "regression"}, "'name' holds 'x' in row 0"),
        ({}, ["red", "round"], {"task": "classification"}, "there are 2 label columns; name one"),
        ({"red": 1 - FRAME["round"]}, ["red", "round"], {}, "2 labels are one-hot"),
        ({}, ["red", "rund"], {}, "names column 'rund', which is missing; did you mean 'round'"),
        ({}, ["red", "round"], {"features": ["red"]}, "column 'red' is named twice"),
    ],
)
def test_unfit_label_columns_are_explained(tmp_path, changes, label, settings, message):
    with pytest.raises(DataError, match=r"own\.csv: .*" + message):
        load(tmp_path, FRAME.assign(**changes), label, **settings)


def test_one_hot_labels_can_be_asked_for(tmp_path):
    frame = FRAME.assign(red=1 - FRAME["round"])
    assert load(tmp_path, frame, ["red", "round"], task="multilabel").task == "multilabel"


@pytest.mark.parametrize("label", [[], ["red", "red"]])
def test_names_must_be_distinct(label):
    with pytest.raises(ValueError, match="must name one column or several different ones"):
        DataSpec(path="own.csv", label=label)


def test_an_array_of_labels(tmp_path):
    x, y = rng.normal(size=(ROWS, 3)), rng.integers(2, size=(ROWS, 4))
    np.savez(tmp_path / "own.npz", x=x, y=y)
    data = load_dataset(DataSpec(path=tmp_path / "own.npz"), 0)
    assert (data.task, data.outputs, data.class_names) == ("multilabel", 4, ("0", "1", "2", "3"))
    np.savez(tmp_path / "own.npz", x=x, y=y + (np.arange(4) == 2) * y)
    with pytest.raises(DataError, match=r"array 'y', column '2' holds '2' in row"):
        load_dataset(DataSpec(path=tmp_path / "own.npz"), 0)
    with pytest.raises(SpecError, match=r"leave data\.label out"):
        load_dataset(DataSpec(path=tmp_path / "own.npz", label=["a", "b"]), 0)


def test_a_teacher_gives_one_output_a_label(tmp_path):
    data = load(tmp_path, FRAME, ["red", "round"], ["size", "weight"], ignore=["name"])
    assert data.train.teacher_outputs.shape[1] == 2
    with pytest.raises(TeacherError, match="1 output, but the label needs 2; give one a label, in"):
        load(tmp_path, FRAME, ["red", "round"], ["size"], ignore=["name"])


def test_documents_are_always_there():
    first, again = (load_dataset(DataSpec(name="documents"), seed) for seed in (0, 0))
    assert (first.task, first.outputs, first.input_shape) == ("multilabel", 6, (32,))
    np.testing.assert_array_equal(first.train.x, again.train.x)
    assert set(np.unique(first.train.y)) == {0, 1}
    assert first.train.y.sum(axis=1).max() > 1
