"""What estimators are given: labels of any kind, frames, parameters and numbers that do not fit."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from bdistil import BDistilClassifier, BDistilRegressor
from bdistil.errors import BdistilWarning

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(120, 3))
RIGHT = X[:, 0] + X[:, 1] > 0
QUICK: dict[str, Any] = {
    "rounds": 1,
    "trials": 1,
    "random_state": 0,
    "overrides": {"space.epochs": 2, "teacher.epochs": 3},
}


@pytest.fixture(autouse=True)
def _without_doubts_of_teachers() -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the teacher's validation metric")
        yield


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        (RIGHT.astype(object), "b"),
        (pd.Series(RIGHT).astype("boolean"), "b"),
        (pd.Series(RIGHT).astype(object), "b"),
        (pd.Series(RIGHT * 5).astype("Int64"), "i"),
        ((RIGHT * 5).astype(object), "i"),
        (np.where(RIGHT, "yes", "no").astype(object), "O"),
        (pd.Series(np.where(RIGHT, "yes", "no")).astype("string"), "O"),
        (pd.Series(np.where(RIGHT, "yes", "no")).astype("category"), "O"),
    ],
)
def test_labels_come_back_as_what_they_were(labels: Any, kind: str) -> None:
    model = BDistilClassifier(**QUICK).fit(X, labels)
    assert model.classes_.dtype.kind == kind
    assert {*model.predict(X)} <= {*np.asarray(labels).tolist()}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda y: [None, *y[1:]], "missing label in row 0"),
        (lambda y: [*y[:5], np.nan, *y[6:]], "missing label in row 5"),
        (lambda y: pd.Series([*y[:5], pd.NA, *y[6:]], dtype="string"), "missing label in row 5"),
        (lambda y: [1, *y[1:]], "labels of the types int and str; give one type"),
    ],
)
def test_missing_and_mixed_labels_are_refused(wrong: Callable[[Any], Any], message: str) -> None:
    given = wrong(np.where(RIGHT, "yes", "no").tolist())
    labels = given if isinstance(given, pd.Series) else np.array(given, object)
    with pytest.raises(ValueError, match=message):
        BDistilClassifier(**QUICK).fit(X, labels)


@pytest.mark.parametrize("targets", [RIGHT, RIGHT.astype(object), np.c_[RIGHT, X[:, 2] > 0]])
def test_booleans_are_targets_of_a_regression(targets: Any) -> None:
    answers = BDistilRegressor(**QUICK).fit(X, targets).predict(X)
    assert answers.shape == targets.shape
    as_numbers = BDistilRegressor(**QUICK).fit(X, targets.astype(float)).predict(X)
    np.testing.assert_array_equal(answers, as_numbers)


@pytest.mark.parametrize("dtype", [object, str])
def test_texts_are_no_targets(dtype: Any) -> None:
    with pytest.raises(ValueError, match="y holds the text 'no', but a regression needs numbers"):
        BDistilRegressor(**QUICK).fit(X, np.array(["no", *["1"] * 119], dtype))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"ladder": 8}, r"ladder is 8; give the widths"),
        ({"validation_fraction": "a"}, "validation_fraction is 'a'; choose one between"),
        ({"validation_fraction": True}, "validation_fraction is True"),
        ({"teacher": "mlp"}, "teacher is 'mlp', no scikit-learn estimator"),
        ({"teacher": RandomForestRegressor}, r"is the class .*; give an object of it, RandomFor"),
    ],
)
def test_parameters_of_another_kind_are_refused(parameters: Any, message: str) -> None:
    for kind in (BDistilClassifier, BDistilRegressor):
        with pytest.raises(ValueError, match=message):
            kind(**QUICK | parameters).fit(X, RIGHT)


def test_a_classifier_teaches_no_regression() -> None:
    with pytest.raises(ValueError, match="is a classifier; choose a regressor"):
        BDistilRegressor(RandomForestClassifier(5), **QUICK).fit(X, RIGHT.astype(int))


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
@pytest.mark.parametrize(
    ("column", "held"),
    [
        (np.where(RIGHT, "u", "v"), "text"),
        (pd.date_range("2026-01-01", periods=120).to_numpy(), "dates"),
    ],
)
def test_columns_that_are_no_numbers_are_named(frame: Any, column: Any, held: str) -> None:
    given = frame({"p": X[:, 0], "q": column})
    for kind in (BDistilClassifier, BDistilRegressor):
        with pytest.raises(ValueError, match=rf"column 'q' of X holds {held}, .* Pipeline"):
            kind(**QUICK).fit(given, RIGHT)
    category = pd.DataFrame({"p": X[:, 0], "q": column}).astype({"q": "category"})
    with pytest.raises(ValueError, match="column 'q' of X holds"):
        BDistilClassifier(**QUICK).fit(category, RIGHT)


def test_what_float32_does_not_tell_apart_is_named() -> None:
    far = X + np.array([0, 1e9, 0])
    with pytest.warns(BdistilWarning, match=r"feature 1 of X has 120 different .* Pipeline"):
        BDistilClassifier(**QUICK).fit(far, RIGHT)
    with pytest.warns(BdistilWarning, match=r"column 'q' of X has 120 different"):
        BDistilRegressor(**QUICK).fit(pd.DataFrame(far, columns=list("pqr")), X[:, 0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "the teacher's validation metric")
        BDistilClassifier(**QUICK).fit(X + 100, RIGHT)
    with pytest.raises(ValueError, match=r"feature 0 of X holds numbers up to .* beyond float32"):
        BDistilClassifier(**QUICK).fit(X * 1e300, RIGHT)
