"""The estimators: scikit-learn's own checks, and what is ours."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn import clone, config_context
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn

import bdistil
from bdistil import BDistilClassifier, BDistilRegressor, Predictor
from bdistil.core.folding import FoldedPrefix
from bdistil.errors import DataError, SpecError

QUICK = {"teacher.epochs": 30, "space.epochs": 10}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::bdistil.errors.BdistilWarning")
@parametrize_with_checks(
    [
        BDistilClassifier(rounds=2, trials=1, overrides=QUICK, random_state=0),
        BDistilRegressor(rounds=2, trials=1, overrides=QUICK, random_state=0),
    ],
    expected_failed_checks=lambda _: {
        "check_sample_weight_equivalence_on_dense_data": "repeated rows may be split and batched "
        "apart; that losses and choices count a weight as so many rows is tested elsewhere"
    },
)
def test_scikit_learns_conventions(estimator, check) -> None:  # type: ignore[no-untyped-def]
    check(estimator)


@pytest.fixture(scope="module")
def iris() -> BDistilClassifier:
    x, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])
    teacher = RandomForestClassifier(50, random_state=0)
    kept = {"search.fallback": "best"}
    model = BDistilClassifier(teacher, rounds=3, trials=2, overrides=kept, random_state=0)
    return model.fit(x, names[y])


def test_each_stage_answers_and_the_last_is_the_whole(iris: BDistilClassifier) -> None:
    x, _ = load_iris(return_X_y=True)
    *_, last = stages = list(iris.staged_predict(x))
    assert len(stages) == 3
    np.testing.assert_array_equal(last, iris.predict(x))
    for probabilities, labels in zip(iris.staged_predict_proba(x), stages, strict=True):
        np.testing.assert_allclose(probabilities.sum(axis=1), 1)
        np.testing.assert_array_equal(iris.classes_[probabilities.argmax(axis=1)], labels)


def test_it_learns_what_its_teacher_knows(iris: BDistilClassifier) -> None:
    x, y = load_iris(return_X_y=True)
    assert iris.score(x, iris.classes_[y]) > 0.93
    assert set(iris.predict(x)) == {"setosa", "versicolor", "virginica"}


def test_what_is_saved_answers_alike(iris: BDistilClassifier, tmp_path: Path) -> None:
    x, _ = load_iris(return_X_y=True)
    iris.save_pretrained(tmp_path / "iris")
    loaded = bdistil.Ensemble.from_pretrained(tmp_path / "iris")
    np.testing.assert_array_equal(loaded.predict(x.astype(np.float32)), iris.predict(x))


def test_probabilities_are_those_of_the_saved_ensemble(
    iris: BDistilClassifier, tmp_path: Path
) -> None:
    x, _ = load_iris(return_X_y=True)
    iris.save_pretrained(tmp_path / "iris")
    predictor = bdistil.Predictor(tmp_path / "iris")
    for stage, ours in enumerate(iris.staged_predict_proba(x), start=1):
        theirs = predictor.predict_proba(x.astype(np.float32), stages=stage)
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_a_fitted_teacher_stays_as_it_is() -> None:
    x, y = load_diabetes(return_X_y=True)
    forest = RandomForestRegressor(20, random_state=0).fit(x[:200], y[:200])
    answers = forest.predict(x)
    model = BDistilRegressor(FrozenEstimator(forest), rounds=2, trials=1, random_state=0).fit(x, y)
    np.testing.assert_array_equal(forest.predict(x), answers)
    assert np.corrcoef(model.predict(x), answers)[0, 1] > 0.7


def test_several_targets_at_once() -> None:
    x, y = load_diabetes(return_X_y=True)
    both = np.stack([y, -2 * y], axis=1)
    model = BDistilRegressor(rounds=2, trials=1, random_state=0).fit(x, both)
    assert model.predict(x).shape == both.shape
    assert model.score(x, both) > 0.3


def test_a_random_state_repeats_the_fit() -> None:
    x, y = load_iris(return_X_y=True)
    models = [
        BDistilClassifier(rounds=2, trials=1, overrides=QUICK, random_state=s).fit(x, y)
        for s in (1, 1, 2)
    ]
    first, again, other = (model.predict_proba(x) for model in models)
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_a_wrong_parameter_is_named() -> None:
    x, y = load_iris(return_X_y=True)
    with pytest.raises(bdistil.BdistilError, match=r"search\.rounds is 0"):
        BDistilClassifier(rounds=0).fit(x, y)


LABELS = {
    "booleans": [False, True, False],
    "signs": [-1, 1, -1],
    "from one": [1, 2, 1],
    "with a negative": [-1, 0, 1],
    "texts": ["ham", "spam", "ham"],
    "whole floats": [1.0, 2.0, 3.0],
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_a_fitted_teachers_classes_are_labels_of_any_type(labels: list[object]) -> None:
    x, z = load_iris(return_X_y=True)
    y = np.array(labels)[z]
    teacher = LogisticRegression(max_iter=1000).fit(x, y)
    model = BDistilClassifier(FrozenEstimator(teacher), rounds=2, trials=1, random_state=0)
    model.set_params(recipe="faithful", overrides={"space.epochs": 40}).fit(x, y)
    agreed = np.mean(model.predict(x) == teacher.predict(x))
    assert agreed > max(np.mean(y == value) for value in set(labels)) + 0.1
    saved = model.ensemble_.predict(x.astype(np.float32))
    np.testing.assert_array_equal(saved, model.predict(x))


def test_a_teacher_of_other_labels_is_refused() -> None:
    x, y = load_iris(return_X_y=True)
    teacher = LogisticRegression(max_iter=1000).fit(x, y + 1)
    with pytest.raises(ValueError, match=r"answers with class 3, but y holds \[0, 1, 2\]"):
        BDistilClassifier(FrozenEstimator(teacher), rounds=1).fit(x, y)


def test_a_teacher_that_chooses_columns_by_name_gets_names() -> None:
    frame, y = load_iris(return_X_y=True, as_frame=True)
    wide = [name for name in frame if "petal" in name]
    teacher = make_pipeline(
        ColumnTransformer([("petal", "passthrough", wide)]), LogisticRegression()
    )
    model = BDistilClassifier(teacher, rounds=1, trials=1, overrides=QUICK, random_state=0)
    model.fit(frame, y)
    assert model.teacher_.score(frame, y) > 0.9


def imbalanced() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    y = np.repeat(["common", "rare"], [270, 30])
    x = random.normal(size=(300, 3))
    x[:, 0] += 1.2 * (y == "rare")
    return x, y


@pytest.mark.parametrize("teacher", [None, LogisticRegression()], ids=["network", "estimator"])
def test_classes_count_as_asked(teacher: object) -> None:
    x, y = imbalanced()
    settings = {"rounds": 2, "trials": 1, "overrides": QUICK, "random_state": 0}
    plain = BDistilClassifier(teacher, **settings).fit(x, y)
    balanced = BDistilClassifier(teacher, class_weight="balanced", **settings).fit(x, y)
    by_name = BDistilClassifier(teacher, class_weight={"rare": 9}, **settings).fit(x, y)
    by_row = BDistilClassifier(teacher, **settings).fit(x, y, np.where(y == "rare", 9, 1))
    found = [np.mean(model.predict(x)[y == "rare"] == "rare") for model in (plain, balanced)]
    assert found[1] > found[0] + 0.1
    np.testing.assert_allclose(by_name.predict_proba(x), by_row.predict_proba(x), atol=1e-5)


def test_weights_are_routed_as_scikit_learn_does() -> None:
    x, y = imbalanced()
    weights = np.where(y == "rare", 9.0, 1.0)
    model = BDistilClassifier(rounds=1, trials=1, overrides=QUICK, random_state=0)
    with config_context(enable_metadata_routing=True):
        asked = model.set_fit_request(sample_weight=True)
        piped = make_pipeline(asked).fit(x, y, sample_weight=weights)
    expected = clone(model).fit(x, y, weights).predict_proba(x)
    np.testing.assert_array_equal(piped.predict_proba(x), expected)


def test_a_teacher_without_weights_says_so_and_a_frozen_one_need_not() -> None:
    x, y = imbalanced()
    settings = {"rounds": 1, "trials": 1, "overrides": QUICK, "random_state": 0}
    neighbours = KNeighborsClassifier()
    with pytest.warns(bdistil.errors.BdistilWarning, match="KNeighborsClassifier.* no weights"):
        BDistilClassifier(neighbours, **settings).fit(x, y, np.ones(300))
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*takes no weights")
        frozen = FrozenEstimator(neighbours.fit(x, y))
        BDistilClassifier(frozen, **settings).fit(x, y, np.ones(300))


def test_a_negative_weight_is_refused() -> None:
    x, y = imbalanced()
    with pytest.raises(ValueError, match="Negative values"):
        BDistilClassifier(rounds=1).fit(x, y, np.linspace(-1, 1, 300))


def test_a_goal_ends_a_fit_before_its_rounds() -> None:
    x, y = load_iris(return_X_y=True)
    goal = QUICK | {"goal.keep": "10%", "goal.within_parameters": 60}
    model = BDistilClassifier(
        LogisticRegression(), rounds=None, trials=1, ladder=(2,), overrides=goal, random_state=0
    ).fit(x, y)
    assert len(model.ensemble_) == 1  # any student has a tenth of the teacher's accuracy
    first = FoldedPrefix(model.ensemble_, 1)
    assert sum(each.numel() for each in first.parameters()) <= 60


@pytest.mark.parametrize("limit", [90.0, "1s"])
def test_an_estimator_as_teacher_is_timed(limit: object) -> None:
    x, y = load_iris(return_X_y=True)
    goal = QUICK | {"goal.within_time": limit}
    teacher = RandomForestClassifier(5, random_state=0)
    model = BDistilClassifier(teacher, rounds=2, trials=1, overrides=goal, random_state=0)
    assert 1 <= len(model.fit(x, y).ensemble_) <= 2
    faster = QUICK | {"goal.within_time": 1e-6 if isinstance(limit, float) else "1us"}
    with pytest.raises(SpecError, match=r"goal.within_time is .*, but the smallest student"):
        model.set_params(overrides=faster).fit(x, y)


OWN = """
from torch import nn

def build():
    hidden = (nn.Linear(4, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU())
    return nn.Sequential(*hidden, nn.Linear(256, 3))
"""


def test_a_network_of_ones_own_is_a_teacher_with_limits(tmp_path: Path) -> None:
    x, y = load_iris(return_X_y=True)
    (tmp_path / "mine.py").write_text(OWN)
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Linear(4, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 3)
    )
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(100):
        loss = nn.functional.cross_entropy(
            network(torch.tensor(x, dtype=torch.float32)), torch.tensor(y)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    save_file(network.state_dict(), tmp_path / "mine.safetensors")
    own = {
        "teacher.model": f"{tmp_path / 'mine.py'}:build",
        "teacher.weights": str(tmp_path / "mine.safetensors"),
    }
    limits = {"goal.within_time": "500%", "goal.within": "30%", "goal.within_parameters": "10%"}
    model = BDistilClassifier(
        rounds=3, trials=1, overrides=QUICK | own | limits, random_state=0
    ).fit(x, y)
    teacher = sum(each.numel() for each in network.parameters())
    folded = FoldedPrefix(model.ensemble_, len(model.ensemble_))
    assert sum(each.numel() for each in folded.parameters()) <= 0.1 * teacher
    assert model.score(x, y) > 0.8
    with pytest.raises(ValueError, match=r"overrides set teacher.model=.*, but teacher is given"):
        BDistilClassifier(LogisticRegression(), overrides=own).fit(x, y)


def test_a_fit_that_fails_leaves_no_answers_of_the_one_before() -> None:
    """They would be the old ensemble's, under the labels of the new data."""
    x, y = load_iris(return_X_y=True)
    model = BDistilClassifier(rounds=1, trials=1, overrides=QUICK, random_state=0).fit(x, y)
    with pytest.raises(ValueError, match="validation_fraction is 2"):
        model.set_params(validation_fraction=2).fit(x, y + 7)
    for answer in (model.predict, model.predict_proba, lambda x: next(model.staged_predict(x))):
        with pytest.raises(NotFittedError):
            answer(x)


def test_targets_that_float32_cannot_tell_apart_are_refused() -> None:
    x, y = load_diabetes(return_X_y=True)
    with pytest.raises(ValueError, match="with which float32 cannot compute"):
        BDistilRegressor(rounds=1, trials=1, overrides=QUICK).fit(x, y + 1e10)
    y[0] = 1e12
    with pytest.raises(ValueError, match="float32 cannot tell most others apart"):
        BDistilRegressor(rounds=1, trials=1, overrides=QUICK).fit(x, y)


def test_a_random_state_decides_what_a_teacher_draws(tmp_path: Path) -> None:
    """And a part of it; one that has a seed of its own keeps it."""
    x, y = load_iris(return_X_y=True)
    for teacher in (
        RandomForestClassifier(5, max_depth=2),
        make_pipeline(StandardScaler(), RandomForestClassifier(5, max_depth=2)),
    ):
        first, again = (
            BDistilClassifier(teacher, rounds=1, trials=1, random_state=3)
            .fit(x, y)
            .predict_proba(x)
            for _ in range(2)
        )
        np.testing.assert_array_equal(first, again)
    own = RandomForestClassifier(5, random_state=11)
    fitted = BDistilClassifier(own, rounds=1, trials=1, random_state=3).fit(x, y)
    assert fitted.teacher_.random_state == 11


def test_a_frames_columns_are_saved_by_name(tmp_path: Path) -> None:
    frame, y = load_iris(return_X_y=True, as_frame=True)
    model = BDistilClassifier(LogisticRegression(), rounds=1, trials=1, random_state=0)
    model.fit(frame, y).save_pretrained(str(tmp_path))
    predictor = Predictor(tmp_path)
    np.testing.assert_array_equal(
        predictor.predict(frame[frame.columns[::-1]]), model.predict(frame)
    )
    with pytest.raises(DataError, match="petal"):
        predictor.predict(frame.drop(columns="petal length (cm)"))


def test_what_is_saved_has_budgets_and_exits_of_its_own(tmp_path: Path) -> None:
    x, y = load_iris(return_X_y=True)
    model = BDistilClassifier(LogisticRegression(), rounds=2, trials=1, random_state=0).fit(x, y)
    model.save_pretrained(str(tmp_path))
    predictor = Predictor(tmp_path)
    assert len(predictor.predict_batch(x, "100%").values) == len(x)
    assert predictor.policy(on=(x, y)).metric > 0.5
    *_, full = predictor.manifest.costs
    assert predictor.policy(budget=full, by="flops").cost <= full


def test_overrides_are_numbers_of_any_kind_and_not_about_the_data() -> None:
    x, y = load_iris(return_X_y=True)
    model = BDistilClassifier(LogisticRegression(), rounds=1, trials=1, random_state=0)
    model.set_params(overrides={"space.epochs": np.int64(2), "space.lr": np.float32(0.01)}).fit(
        x, y
    )
    for wrong in ({"data.validation": 0.5}, {"data.group": "g"}):
        with pytest.raises(ValueError, match="the data are those of fit"):
            model.set_params(overrides=wrong).fit(x, y)
    with pytest.raises(ValueError, match="overrides hold"):
        model.set_params(overrides={"space.epochs": object()}).fit(x, y)
