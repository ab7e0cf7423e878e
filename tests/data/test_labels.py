import json
import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdistil.data.labels import class_indices, encode_labels
from bdistil.errors import BdistilWarning, DataError


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([10, 2, 2, 1], ("1", "2", "10")),
        ([10.0, 2.0, 2.0], ("2", "10")),
        (["10", "9", "10"], ("9", "10")),
        (["b", "a", "10"], ("10", "a", "b")),
        ([True, False], ("False", "True")),
        (pd.Series([3, 1], dtype="Int64"), ("1", "3")),
        (pd.Series(["x", "y"], dtype="category"), ("x", "y")),
        (pd.Series([1.5, 2.5], dtype="category"), ("1.5", "2.5")),
        (pd.Categorical(["hi", "lo", "hi"], ["lo", "mid", "hi"], ordered=True), ("lo", "hi")),
        (pd.to_datetime(["2024-05-01", "2023-01-01"]), ("2023-01-01", "2024-05-01")),
        (np.array([b"no", b"yes"]), ("no", "yes")),
    ],
)
def test_classes_are_named_as_written_and_sorted_sensibly(values, names):
    labels = encode_labels(pd.Series(values), "auto", "label column 'y'")
    shortened = tuple(name.removesuffix(" 00:00:00") for name in labels.class_names)
    assert shortened == names
    assert labels.y.dtype == np.int64
    assert json.loads(json.dumps(labels.class_names)) == list(labels.class_names)
    texts = [str(value).removesuffix(" 00:00:00") for value in pd.Series(values)]
    assert all(
        shortened[y] in (text, text.removesuffix(".0"), text[2:-1])
        for y, text in zip(labels.y, texts, strict=True)
    )


@given(
    values=st.one_of(
        st.lists(st.integers(-(2**53), 2**53), min_size=2, max_size=40, unique=True),
        st.lists(st.text(max_size=5), min_size=2, max_size=40, unique=True),
    )
)
def test_encoding_keeps_every_label(values):
    labels = encode_labels(np.array(values, dtype=object), "classification", "y")
    assert [labels.class_names[y] for y in labels.y] == [str(value) for value in values]


@pytest.mark.parametrize("values", [[0.5, 1.0], [Decimal("0.50"), Decimal("1.00")]])
def test_auto_takes_fractions_for_regression(values):
    labels = encode_labels(pd.Series(values), "auto", "y")
    assert labels.class_names is None
    assert labels.y.dtype == np.float32
    assert labels.y.tolist() == [[0.5], [1.0]]


def test_whole_numbers_can_be_regressed_on_request():
    assert encode_labels(np.array([3, 4]), "regression", "y").y.tolist() == [[3.0], [4.0]]


def test_classification_of_fractions_is_refused():
    with pytest.raises(DataError, match=r"with fractions.*data.task=regression"):
        encode_labels(np.array([0.5, 1.0]), "classification", "y")


def test_regression_of_text_is_refused():
    with pytest.raises(DataError, match=r"y holds 'a' in row 1 .* is no number"):
        encode_labels(np.array(["1", "a"]), "regression", "y")


def test_many_whole_numbers_ask_for_the_task():
    values = np.arange(200)
    with pytest.raises(DataError, match=r"200 different whole numbers, classes or a quantity"):
        encode_labels(values, "auto", "y")
    assert len(encode_labels(values, "classification", "y").class_names) == 200


def test_a_target_that_never_changes_is_refused():
    with pytest.raises(DataError, match=r"y holds only one value, 2\.5, so there is nothing"):
        encode_labels(np.full(9, 2.5), "auto", "y")


def test_classes_that_differ_in_blanks_are_told():
    values = np.array(["yes", "yes ", "no", " no", "Yes"], dtype=object)
    with pytest.warns(BdistilWarning, match="differ in blanks or capitals alone") as told:
        assert len(encode_labels(values, "auto", "y").class_names) == 5
    found = sorted(str(each.message)[8:22] for each in told)
    assert found == ["' no' and 'no'", "'Yes' and 'yes", "'Yes' and 'yes"]


def test_one_class_is_refused():
    with pytest.raises(DataError, match=r"y holds only one class, 'a'"):
        encode_labels(np.array(["a", "a"]), "auto", "y")


@pytest.mark.parametrize(
    "values", [[1.0, np.nan, np.nan], ["a", None, None], pd.Series([1, None, None], dtype="Int64")]
)
def test_missing_labels_are_counted(values):
    with pytest.raises(DataError, match=r"y has 2 missing values, the first in row 1 \(counted"):
        encode_labels(pd.Series(values), "auto", "y")


def test_an_infinite_target_is_refused():
    with pytest.raises(DataError, match=r"y has 1 infinite value in row 1"):
        encode_labels(np.array([0.5, np.inf]), "auto", "y")


def test_unknown_labels_have_index_minus_1():
    assert class_indices(np.array([3.0, 7.0]), ("3", "5")).tolist() == [0, -1]


@pytest.mark.parametrize(
    ("values", "class_type"),
    [
        (np.array([3, 1, 3]), "integer"),
        (np.array([3.0, 1.0]), "integer"),
        (np.array([-1, 1]), "integer"),
        (np.array([True, False]), "boolean"),
        (np.array([3, 1], object), "integer"),
        (np.array([3, "1"], object), "text"),
        (np.array([2**63, 1], object), "text"),
        (np.array(["3", "1"]), "text"),
        (pd.Series([3, 1], dtype="Int64"), "integer"),
        (pd.Series([True, False], dtype="boolean"), "boolean"),
        (pd.Series(["b", "a"], dtype="category"), "text"),
        (pd.Series([3, 1], dtype="category"), "integer"),
        (pd.Series([1.5, 2.0], dtype="category"), "text"),
    ],
)
def test_what_labels_were_is_kept(values, class_type):
    assert encode_labels(values, "classification", "labels").class_type == class_type


def test_classes_that_differ_in_capitals_are_told_but_letters_are_not():
    with pytest.warns(BdistilWarning, match="'Yes' and 'yes', which differ"):
        encode_labels(np.array(["Yes", "yes", "no"]), "auto", "label")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encode_labels(np.array(["a", "A", "b"]), "auto", "label")


def test_numbers_in_another_notation_are_no_classes_unless_asked_for():
    values = np.array([f"{n},5" for n in range(12)] * 2)
    with pytest.raises(DataError, match=r"another notation, such as '0,5'.*classification if"):
        encode_labels(values, "auto", "label")
    assert len(encode_labels(values, "classification", "label").class_names) == 12
    assert len(encode_labels(np.array([*map(str, range(12))] * 2), "auto", "x").class_names) == 12
