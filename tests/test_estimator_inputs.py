"""What users give estimators: labels and targets of any type, frames, parameters, large numbers."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, StandardScaler

from bdistil import BDistilClassifier, BDistilRegressor
from bdistil.errors import BdistilWarning
from bdistil.sklearn.features import as_float32

X, Y = load_iris(return_X_y=True)
FRAME = pd.DataFrame(X, columns=list("abcd"))
BOOLEANS = Y > 0
TEXTS = np.array(["ham", "spam", "eggs"])[Y]

pytestmark = pytest.mark.filterwarnings("ignore:the teacher's validation metric")


def classifier(teacher: Any = None, **changed: Any) -> BDistilClassifier:
    return BDistilClassifier(teacher, **quick(teacher) | changed)


def regressor(teacher: Any = None, **changed: Any) -> BDistilRegressor:
    return BDistilRegressor(teacher, **quick(teacher) | changed)


def quick(teacher: Any) -> dict[str, Any]:
    short = {"space.epochs": 2} | ({"teacher.epochs": 3} if teacher is None else {})
    return {"rounds": 1, "trials": 1, "overrides": short, "random_state": 0}


# Targets


@pytest.mark.parametrize("z", [BOOLEANS, np.stack([BOOLEANS, Y > 1], axis=1)], ids=["one", "two"])
def test_boolean_targets_are_zeros_and_ones(z: np.ndarray) -> None:
    model = regressor().fit(X, z)
    np.testing.assert_array_equal(model.predict(X), regressor().fit(X, z.astype(float)).predict(X))
    assert model.predict(X).shape == z.shape
    model.score(X, z)


@pytest.mark.parametrize(
    ("z", "message"),
    [
        (TEXTS, r"y holds 'ham' in row 0 .* numbers.*BDistilClassifier"),
        (TEXTS.astype(object), r"y holds 'ham' in row 0 .* numbers"),
        (pd.Series(TEXTS, dtype="string"), r"y holds 'ham' in row 0 .* numbers"),
        (["1"] * 149 + ["n/a"], r"y holds 'n/a' in row 149 .* numbers"),
        (pd.DataFrame({"a": Y, "b": TEXTS}), r"y holds 'ham' in row 0 .* numbers"),
        (np.array([1, 2, pd.NA], object)[Y], r"y has 50 missing values, the first in row 100"),
        (np.array(["2020-01-01", "2021-01-01"], "M8[D]")[Y // 2], "y holds dates or times"),
    ],
    ids=["texts", "objects", "nullable", "one text", "two", "missing", "dates"],
)
def test_targets_that_are_no_numbers_are_named(z: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        regressor().fit(X, z)


# Labels


@pytest.mark.parametrize(
    ("z", "classes"),
    [
        (BOOLEANS.astype(object), np.array([False, True])),
        (BOOLEANS.tolist(), np.array([False, True])),
        (pd.Series(BOOLEANS).astype(object), np.array([False, True])),
        (pd.Series(BOOLEANS, dtype="boolean"), np.array([False, True])),
        (pd.Series(BOOLEANS, dtype="category"), np.array([False, True])),
        (pd.DataFrame({"y": pd.Series(BOOLEANS, dtype="boolean")}), np.array([False, True])),
        (pl.Series(BOOLEANS), np.array([False, True])),
        (pd.Series(Y, dtype="Int64"), np.array([0, 1, 2])),
        (Y.astype(object), np.array([0, 1, 2])),
        (pd.Series(TEXTS, dtype="string"), np.array(["eggs", "ham", "spam"], object)),
        (TEXTS.tolist(), np.array(["eggs", "ham", "spam"])),
    ],
)
@pytest.mark.filterwarnings("ignore:A column-vector y")
def test_labels_keep_their_type(z: Any, classes: np.ndarray) -> None:
    model = classifier().fit(X, z)
    np.testing.assert_array_equal(model.classes_, classes)
    assert model.classes_.dtype == classes.dtype
    assert model.predict(X).dtype == classes.dtype
    assert 0 <= model.score(X, z) <= 1


@pytest.mark.parametrize(
    "z",
    [
        np.array(["a", None, "c"], object)[Y],
        np.array(["a", None, "c"], object)[Y].tolist(),
        np.array([0.0, np.nan, 1.0])[Y],
        np.array([False, np.nan, True], object)[Y],
        pd.Series([0, pd.NA, 1], dtype="Int64")[Y],
        pd.Series(["a", pd.NA, "c"], dtype="string")[Y],
        pd.Series(["a", None, "c"], dtype="category")[Y],
        pl.Series(["a", None, "c"])[Y],
    ],
)
def test_a_missing_label_is_told_with_its_row(z: Any) -> None:
    with pytest.raises(ValueError, match=r"y has a missing label in row 50 \(counted from 0\)"):
        classifier().fit(X, z)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["ham", 1, 2], r"the text 'ham' in row 0 and the number 1 in row 50"),
        ([True, "ham", "ham"], r"the boolean True in row 0 and the text 'ham' in row 50"),
        ([0, 1, True], r"the number 0 in row 0 and the boolean True in row 100"),
    ],
)
def test_labels_of_several_types_are_refused(labels: list[object], message: str) -> None:
    z = np.array(labels, object)[Y]
    for given in (z, z.tolist(), pd.Series(z)):
        with pytest.raises(ValueError, match=message):
            classifier().fit(X, given)


# Parameters


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"ladder": 8}, r"ladder is 8; give the widths .*\(8,\) for one"),
        ({"ladder": "8"}, "ladder is '8'; give the widths"),
        ({"validation_fraction": "a"}, "validation_fraction is 'a'; choose a number between"),
        ({"validation_fraction": None}, "validation_fraction is None; choose a number between"),
        ({"validation_fraction": True}, "validation_fraction is True; choose a number between"),
        ({"teacher": "mlp"}, r"teacher is 'mlp', a text; give .*'teacher.model': 'mlp'"),
        ({"teacher": LogisticRegression}, r"the class LogisticRegression; give LogisticRegression"),
        ({"teacher": object()}, "teacher is <object .*no estimator"),
    ],
)
def test_a_parameter_of_a_wrong_type_is_named(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        classifier().set_params(**changed).fit(X, Y)


def test_a_ladder_is_any_sequence_of_widths() -> None:
    assert classifier(ladder=np.array([2, 4])).fit(X, Y).predict(X).shape == Y.shape


def test_a_teacher_of_classes_does_not_teach_a_regressor() -> None:
    fitted = LogisticRegression(max_iter=1000).fit(X, Y)
    for teacher in (LogisticRegression(), make_pipeline(StandardScaler(), LogisticRegression())):
        with pytest.raises(ValueError, match=r"(?s)teacher .* is a classifier; choose a regressor"):
            regressor(teacher).fit(X, Y)
    with pytest.raises(ValueError, match=r"is a classifier; choose a regressor"):
        regressor(FrozenEstimator(fitted)).fit(X, Y)
    with pytest.raises(ValueError, match=r"StandardScaler\(\) has no predict; choose a regressor"):
        regressor(StandardScaler()).fit(X, Y)
    regressor(RandomForestRegressor(3)).fit(X, Y)


def test_settings_of_training_beside_a_given_teacher_are_told_in_the_users_words() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        regressor(LinearRegression()).fit(X, Y)
        assert not [each for each in caught if "no effect" in str(each.message)]
        wrong = {"space.epochs": 2, "teacher.epochs": 3}
        regressor(LinearRegression(), overrides=wrong).fit(X, Y)
    (told,) = [str(each.message) for each in caught if "no effect" in str(each.message)]
    assert "overrides set teacher.epochs, which has no effect" in told


# Columns


@pytest.mark.parametrize(
    ("column", "content"),
    [
        (TEXTS, "text such as 'ham'"),
        (pd.Series(TEXTS, dtype="string"), "text such as 'ham'"),
        (pd.Categorical(TEXTS), "text such as 'ham'"),
        (np.where(Y == 1, "n/a", X[:, 1].astype(object)), "text such as 'n/a'"),
        (pd.Timestamp("2026-01-31"), r"dates or times \(datetime64"),
        (pd.Timestamp("2026-01-31", tz="UTC"), r"dates or times \(datetime64"),
        (pd.Timedelta("1D"), r"dates or times \(timedelta64"),
        (pd.Series([pd.Timestamp("2026-01-31")] * 150, dtype=object), "dates or times"),
        (pd.Series([{"a": 1}] * 150), r"values such as \{'a': 1\}"),
    ],
)
@pytest.mark.parametrize("make", [classifier, regressor])
def test_a_column_of_no_numbers_is_named(make: Any, column: Any, content: str) -> None:
    frame = FRAME.assign(b=column)
    remedies = ".*encoder in a Pipeline.*bdistil search --data"
    with pytest.raises(ValueError, match=rf"column 'b' of X holds {content}{remedies}"):
        make().fit(frame, Y)


@pytest.mark.parametrize(
    ("column", "content"),
    [
        (pl.lit("u"), "text such as 'u'"),
        (pl.lit("u").cast(pl.Categorical), "text such as 'u'"),
        (pl.lit(pd.Timestamp("2026-01-31")), r"dates or times \(Datetime"),
    ],
)
def test_a_column_of_polars_is_named_too(column: pl.Expr, content: str) -> None:
    frame = pl.DataFrame({name: FRAME[name].to_numpy() for name in FRAME}).with_columns(b=column)
    with pytest.raises(ValueError, match=f"column 'b' of X holds {content}"):
        classifier().fit(frame, Y)


@pytest.mark.parametrize(
    "column",
    [
        pd.Series(BOOLEANS),
        pd.Series(BOOLEANS, dtype="boolean"),
        pd.Series(Y, dtype="Int64"),
        pd.Categorical(Y),
        FRAME["b"].astype(object),
        FRAME["b"].astype(str),
    ],
)
def test_columns_that_are_numbers_after_all_are_features(column: Any) -> None:
    assert classifier().fit(FRAME.assign(b=column), Y).predict(FRAME).shape == Y.shape


def test_gaps_are_scikit_learns_to_refuse() -> None:
    for gap, dtype in ((np.nan, float), (None, object), (pd.NA, "Float64")):
        with pytest.raises(ValueError, match="contains NaN"):
            classifier().fit(FRAME.assign(b=pd.Series([gap] * 150, dtype=dtype)), Y)


def test_a_column_is_named_in_predictions() -> None:
    model = classifier().fit(FRAME, Y)
    with pytest.raises(ValueError, match=r"column 'b' of X holds text such as 'u'.*as fit was"):
        model.predict(FRAME.assign(b="u"))
    with pytest.raises(ValueError, match="unseen at fit time"):
        model.predict(FRAME.assign(label="u"))


# Large numbers


def test_lost_digits_are_told_with_a_remedy_that_helps() -> None:
    far = X + 1e9
    with pytest.warns(BdistilWarning, match=r"feature 0 of X .* 35 different .* only 1 apart.* 3"):
        classifier().fit(far, Y)
    with pytest.warns(BdistilWarning, match=r"column 'b' of X has .* keeps only 1 apart; subtract"):
        classifier().fit(FRAME.assign(b=FRAME["b"] + 1e9), Y)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*float32 keeps only")
        model = BDistilClassifier(rounds=2, trials=2, random_state=0)
        scaled = make_pipeline(StandardScaler(), model).fit(far, Y)
    assert scaled.score(far, Y) > 0.9


def test_a_column_beyond_float32_is_named() -> None:
    with pytest.raises(ValueError, match=r"column 'b' of X holds numbers up to 4.4e\+300"):
        classifier().fit(FRAME.assign(b=FRAME["b"] * 1e300), Y)
    with pytest.raises(ValueError, match=r"feature 0 of X .* up to 7.9e\+300 .*MaxAbsScaler"):
        regressor().fit(-X * 1e300, Y)
    small = MaxAbsScaler().fit_transform(X * 1e300)
    assert np.abs(as_float32(small, None)).max() == 1


def test_what_float32_tells_apart_is_not_told_about() -> None:
    draws = np.random.default_rng(0).normal(size=(50_000, 3))
    whole = np.arange(50_000.0)[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for x in (draws, draws * 1e-30, draws + 100, whole + 1e6, np.full((9, 1), 1e9 + 0.1)):
            np.testing.assert_array_equal(as_float32(x, None), x.astype(np.float32))
