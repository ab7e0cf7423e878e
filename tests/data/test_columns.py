import json
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdistil.data.learn_columns import learn_columns
from bdistil.errors import DataError
from bdistil.runtime.columns import TableColumns, is_table

FRAME = pd.DataFrame(
    {
        "age": [30, 40, 50],
        "member": [True, False, True],
        "city": ["Paris", "Rome", "Oslo"],
        "label": ["no", "yes", "no"],
    }
)
FEATURES = ["age", "member", "city"]


def learn(frame=FRAME, names=FEATURES, rows=None):
    rows = np.arange(len(frame)) if rows is None else np.array(rows)
    return learn_columns(frame, names, "label", rows)


def test_numbers_booleans_and_texts_become_features():
    x = learn().encode(FRAME)
    assert x.dtype == np.float32
    assert x.tolist() == [[30, 1, 0, 1, 0], [40, 0, 0, 0, 1], [50, 1, 1, 0, 0]]


def test_categories_are_learnt_on_training_rows_only():
    columns = learn(rows=[0, 1])
    assert columns.width == 4
    assert columns.encode(FRAME)[2].tolist() == [50, 1, 0, 0]


def test_a_json_round_trip_encodes_equally():
    columns = learn()
    restored = TableColumns.of(json.loads(json.dumps(asdict(columns))))
    assert restored == columns
    np.testing.assert_array_equal(restored.encode(FRAME), columns.encode(FRAME))


def test_arrays_are_encoded_as_a_frame_is():
    arrays = {name: FRAME[name].to_numpy() for name in reversed(FEATURES)}
    np.testing.assert_array_equal(learn().encode(arrays), learn().encode(FRAME))


def test_anything_with_columns_is_read_by_their_names():
    class Columnar:
        """As frames of other libraries are: columns in any order, no keys()."""

        columns = ("extra", *reversed(FEATURES))

        def __contains__(self, name):
            return name in self.columns

        def __getitem__(self, name):
            return FRAME[name].to_numpy()

    assert is_table(Columnar())
    assert is_table(FRAME)
    assert not is_table([[1, 2]])
    np.testing.assert_array_equal(learn().encode(Columnar()), learn().encode(FRAME))


@given(
    cities=st.lists(st.sampled_from(["a", "b", "c", "2", "10"]), min_size=1, max_size=30),
    ages=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=30),
)
def test_encoding_can_be_read_back(cities, ages):
    frame = pd.DataFrame({"city": cities, "age": ages[: len(cities)]})
    columns = learn(frame, ["city", "age"])
    x = columns.encode(frame)
    names = columns.features[0].categories
    assert [names[row] for row in x[:, :-1].argmax(axis=1)] == cities
    assert (x[:, :-1].sum(axis=1) == 1).all()
    assert x[:, -1].tolist() == frame["age"].tolist()


@pytest.mark.parametrize(
    "series",
    [
        pd.Series([1, 2, 3], dtype="category"),
        pd.Series(["1", "2", "3"], dtype="string"),
    ],
)
def test_categories_match_however_a_file_stores_them(series):
    columns = learn(pd.DataFrame({"code": series}), ["code"])
    assert columns.features[0].categories == ("1", "2", "3")
    assert columns.encode({"code": [2.0, 3, "1"]}).argmax(axis=1).tolist() == [1, 2, 0]


@pytest.mark.parametrize("dtype", ["Int64", "Float64", "float32", "uint8", "boolean"])
def test_every_type_of_number_is_taken(dtype):
    frame = pd.DataFrame({"a": pd.Series([1, 0, 1], dtype=dtype)})
    assert learn(frame, ["a"]).encode(frame).tolist() == [[1], [0], [1]]


def test_missing_columns_are_named_and_extra_ones_ignored():
    columns = learn()
    with pytest.raises(DataError, match="lacks columns 'age', 'city'"):
        columns.encode(FRAME.drop(columns=["age", "city"]))
    np.testing.assert_array_equal(columns.encode(FRAME.assign(extra=1)), columns.encode(FRAME))


def test_unequal_lengths_are_refused():
    with pytest.raises(DataError, match=r"differ in length \(2, 1, 1\)"):
        learn().encode({"age": [1, 2], "member": [True], "city": ["Rome"]})


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("age", np.nan, "column 'age' has 1 missing value in row 2"),
        ("age", -np.inf, "column 'age' has 1 infinite value in row 2"),
        ("age", 1e300, "column 'age' has 1 infinite value in row 2"),
        ("city", None, "column 'city' has 1 missing value in row 2"),
    ],
)
def test_unfit_values_are_found_in_any_row_when_learning_and_encoding(column, value, message):
    values = [*FRAME[column][:2], value]
    with pytest.raises(DataError, match=message + r" .*data.ignore"):
        learn(FRAME.assign(**{column: values}), rows=[0, 1])
    with pytest.raises(DataError, match=message):
        learn().encode({**FRAME, column: values})


def test_text_in_a_column_of_numbers_is_shown():
    with pytest.raises(DataError, match=r"'age' holds '\?' in row 1 .* no number"):
        learn().encode({**FRAME, "age": ["3", "?", "4"]})


def test_too_many_texts_are_refused():
    frame = pd.DataFrame({"name": [f"n{i}" for i in range(101)]})
    with pytest.raises(DataError, match=r"'name' holds 101 different texts.*data.ignore"):
        learn(frame, ["name"])
    assert learn(frame[:100], ["name"]).width == 100


def test_a_stray_text_among_numbers_is_pointed_at():
    frame = pd.DataFrame({"age": [str(i) for i in range(150)] + ["?"]})
    with pytest.raises(DataError, match=r"looks like numbers but holds '\?' in row 150"):
        learn(frame, ["age"])


@pytest.mark.parametrize(
    ("values", "kind"),
    [(pd.to_datetime(["2024-01-01"] * 3), "datetime"), ([[1], [2], [3]], "mixed")],
)
def test_other_types_are_refused(values, kind):
    with pytest.raises(DataError, match=rf"column 'a' holds {kind}\S* values.*data.ignore"):
        learn(pd.DataFrame({"a": values}), ["a"])
