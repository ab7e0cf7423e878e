"""Questions that fuzzing found to end in errors of numpy: each is one sentence."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from deployed import deploy, examples

from bdistil import Predictor
from bdistil.datasets.catalogue import load_dataset
from bdistil.errors import DataError
from bdistil.searching.outcome import largest_pixel
from bdistil.spec import load_spec

COLUMNS = {
    "features": [
        {"name": "a", "missing": 2, "fill": [0.5]},
        {"name": "city", "categories": ["Oslo", "Rome"]},
        {"name": "b"},
    ],
    "label": "y",
}


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = tmp_path_factory.mktemp("model")
    deploy(folder, ("mlp", 3, "dense", True), columns=COLUMNS)
    return Predictor(folder, backend="torch")


@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        ({"a": [], "b": {}, "city": []}, "column 'b' is {}, one value; give a list"),
        ({"a": [""], "b": [1], "city": ["Oslo"]}, "column 'a' holds '' in row 0"),
        ({"a": [1], "b": [[1, 2]], "city": ["Oslo"]}, r"column 'b' has shape \(1, 2\)"),
        ({"a": [1, 2], "b": [1, 2], "city": ["Oslo"]}, r"the columns differ in length \(2, 1, 2\)"),
        ([0, []], r"an example has shape \(\)"),
        (None, "x is 'None'; give a batch of such examples, or a table"),
        (3, "x is '3'; give a batch"),
        (
            "new.csv",
            "x is the path 'new.csv', which bdistil.read_examples or pandas would read; give",
        ),
        (Path("new.csv"), "x is the path 'new.csv'"),
        (iter([[1, 2]]), "x is a list_iterator, which gives examples one by one; give a batch"),
        (np.zeros(5), r"x has the shape of one example, \(5,\); give a batch, as x\[None\] is"),
        ({"a": 1, "b": 2, "city": "Oslo"}, r"is 1, one value; give a list, .*, \[row\]\)"),
        (
            pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")])),
            "columns have names of 2 levels",
        ),
    ],
)
def test_tables_and_lists_of_anything(predictor: Predictor, question: Any, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        predictor.predict(question)


def test_no_rows_at_all_get_no_answers(predictor: Predictor) -> None:
    assert predictor.predict([]).shape == (0,)


def test_booleans_may_be_texts(predictor: Predictor) -> None:
    row = {"a": [1, None, 0], "b": [1, 0, 1], "city": ["Oslo", "Oslo", "Rome"]}
    texts = row | {"a": ["True", None, "false"], "b": ["true", "False", "True"]}
    expected, found = predictor.predict_proba(row), predictor.predict_proba(texts)
    np.testing.assert_array_equal(expected, found)
    with pytest.raises(DataError, match="column 'b' holds 'True' in row 1"):
        predictor.predict(row | {"b": ["7", "True", "False"]})


@pytest.mark.parametrize("stages", [[], True, 1.5, "1", None.__class__])
def test_stages_that_are_no_numbers(predictor: Predictor, stages: Any) -> None:
    with pytest.raises(DataError, match="which is no number of students"):
        predictor.predict({"a": [1], "b": [1], "city": ["Oslo"]}, stages=stages)


def test_images_of_another_scale_are_told(tmp_path: Path) -> None:
    deploy(tmp_path, ("cnn", 3, "none", True), largest_pixel=255.0)
    pixels = np.abs(examples("cnn", 4))
    pixels *= 255 / pixels.max()
    dark = Predictor(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Predictor(tmp_path).predict(pixels)
        dark.warm_up()
        dark.predict(np.zeros_like(pixels))
    for scaled in (pixels / 255, pixels / 100 - 1):
        fresh = Predictor(tmp_path)
        with pytest.warns(UserWarning, match="trained on up to 255; give pixels as they were"):
            fresh.predict(scaled)
    images = load_dataset(load_spec({"data": {"name": "digits"}}).data, 0)
    assert largest_pixel(images) == images.train.x.max()
    assert largest_pixel(load_dataset(load_spec({"data": {"name": "cube"}}).data, 0)) is None


def test_lists_within_a_column_of_texts_are_unknown_categories(predictor: Predictor) -> None:
    with pytest.warns(UserWarning, match="2 of 2 values are categories that training did not see"):
        predictor.predict({"a": [1, 2], "b": [1, 2], "city": [0, []]})
