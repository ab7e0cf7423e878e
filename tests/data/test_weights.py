"""Examples and classes that count more than others."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_class_weight
from tiny_students import property_test, random_array, seeds

import bdistil
from bdistil.core.correction import CorrectedLoss
from bdistil.core.examples import Examples, Measure, metric
from bdistil.core.losses import fitting_loss
from bdistil.data.dataset import Dataset
from bdistil.datasets.catalogue import load_dataset
from bdistil.errors import BdistilError, BdistilWarning, DataError, SpecError
from bdistil.searching.problem import build_problem, training_shards
from bdistil.spec import DataSpec, load_spec
from bdistil.teachers.estimator import fit_weighted

TASKS = ("classification", "multilabel", "regression")
tasks, counts = st.sampled_from(TASKS), st.lists(st.integers(0, 4), min_size=5, max_size=5)


def answers(seed, task):
    logits, teacher = (torch.from_numpy(each).double() for each in random_array(seed, 2, 5, 3))
    if task == "regression":
        return logits, teacher, torch.from_numpy(random_array(seed + 1, 5, 3)).double()
    labels = torch.from_numpy(np.random.default_rng(seed).integers(2, size=(5, 3)))
    return logits, teacher, labels[:, 0] if task == "classification" else labels.double()


@property_test
@given(seeds, tasks, counts, st.sampled_from((0.0, 0.6, 1.0)), st.sampled_from((1.0, 3.0)))
def test_a_weight_counts_as_so_many_copies(seed, task, counts, share, tau):
    counts = np.add(counts, [1, 1, 0, 0, 0]).tolist()  # a target with one value has no R²
    logits, teacher, labels = answers(seed, task)
    repeats = torch.tensor(counts)
    weights = repeats / repeats.double().mean()
    settings = {"task": task, "label_share": share, "temperature": tau}
    ours = fitting_loss(logits, teacher, labels, **settings, weights=weights)
    copies = [each.repeat_interleave(repeats, dim=0) for each in (logits, teacher, labels)]
    torch.testing.assert_close(ours, fitting_loss(*copies, **settings))
    if task != "regression":
        corrected = CorrectedLoss("kl", "bounded", 0.01, tau)
        torch.testing.assert_close(corrected(logits, teacher, labels, weights), corrected(*copies))
    measure = Measure(task, share)
    weighed = Examples.before_round_one(logits, teacher, labels, weights=weights)
    copied = Examples.before_round_one(*copies)
    assert measure.loss(logits, weighed) == pytest.approx(measure.loss(copies[0], copied))
    assert metric(logits, labels, task, weights) == pytest.approx(
        metric(copies[0], copies[2], task)
    )
    torch.testing.assert_close(
        measure.best_constant([weighed]), measure.best_constant([copied]), atol=1e-5, rtol=1e-5
    )


def table(folder: Path, **columns: object) -> Path:
    random = np.random.default_rng(0)
    label = np.repeat(["rare", "common"], [30, 270])
    frame = pd.DataFrame(random.normal(size=(300, 3)), columns=["a", "b", "c"])
    frame["a"] += 1.2 * (label == "rare")
    frame.assign(label=label, **columns).to_parquet(folder / "t.parquet")
    return folder / "t.parquet"


def loaded(folder: Path, columns: dict[str, object] | None = None, **settings: object) -> Dataset:
    path = table(folder, **(columns or {}))
    return load_dataset(DataSpec.model_validate({"path": path, **settings}), 0)


def test_balanced_classes_count_alike_as_scikit_learn_has_them(tmp_path: Path) -> None:
    dataset = loaded(tmp_path, class_weight="balanced")
    weights, y = dataset.train.weights, dataset.train.y
    assert weights is not None
    expected = compute_class_weight("balanced", classes=np.array([0, 1]), y=y)[y]
    np.testing.assert_allclose(weights, expected, rtol=1e-6)
    assert weights.mean() == pytest.approx(1, rel=1e-6)
    assert dataset.test.weights is None
    assert dataset.card is not None
    assert "by class, so that all count alike (common: 0.556, rare: 5)" in dataset.card.notes[-1]


def test_a_column_of_weights_is_no_feature_and_is_multiplied_with_the_classes(
    tmp_path: Path,
) -> None:
    given = np.linspace(0, 2, 300)
    plain = loaded(tmp_path)
    dataset = loaded(tmp_path, {"w": given}, weight="w", class_weight={"rare": 3})
    assert dataset.input_shape == plain.input_shape == (3,)
    np.testing.assert_array_equal(dataset.train.x, plain.train.x)
    assert dataset.train.weights is not None
    assert dataset.validation.weights is not None
    assert dataset.train.weights.mean() == pytest.approx(1, rel=1e-5)
    everything = pd.read_parquet(tmp_path / "t.parquet")
    everything["a"] = everything["a"].astype(np.float32)
    expected = everything.set_index("a").loc[dataset.train.x[:, 0]]
    product = expected["w"] * np.where(expected["label"] == "rare", 3, 1)
    np.testing.assert_allclose(dataset.train.weights, product / product.mean(), rtol=1e-4)
    assert dataset.sha256 != plain.sha256


REFUSED = {
    "missing": ({"weight": "w"}, {}, "data.weight names column 'w', which is missing"),
    "negative": ({"weight": "w"}, {"w": np.linspace(-1, 1, 300)}, "'w', holds -1; weights are 0"),
    "not finite": ({"weight": "w"}, {"w": np.full(300, np.nan)}, "column 'w'"),
    "all zero": ({"weight": "w"}, {"w": np.zeros(300)}, "all 180 training examples weigh 0"),
    "class": ({"class_weight": {"rar": 2}}, {}, "names class 'rar', which is missing"),
    "regression": (
        {"class_weight": "balanced", "label": "a"},
        {},
        "data.class_weight is 'balanced', but the task is regression",
    ),
}


@pytest.mark.parametrize(("settings", "columns", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_weighed_is_refused(
    settings: dict[str, object], columns: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises((DataError, SpecError), match=message):
        loaded(tmp_path, columns, **settings)


def test_arrays_have_weights_too_and_folders_none(tmp_path: Path) -> None:
    x, y = random_array(0, 60, 2), np.arange(60) % 2
    np.savez(tmp_path / "a.npz", x=x, y=y, importance=np.arange(60.0))
    spec = DataSpec(path=tmp_path / "a.npz", weight="importance")
    weights = load_dataset(spec, 0).train.weights
    assert weights is not None
    assert len(set(weights)) > 30
    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        (tmp_path / "images" / name / "x.png").write_bytes(b"")
    with pytest.raises(BdistilError, match=r"data\.weight is for columns"):
        load_dataset(DataSpec(path=tmp_path / "images", weight="w"), 0)


def test_a_named_data_set_has_weights_of_its_classes() -> None:
    spec = DataSpec(name="breast_cancer", class_weight="balanced")
    dataset = load_dataset(spec, 0)
    weights, y = dataset.train.weights, dataset.train.y
    assert weights is not None
    assert weights[y == 0].sum() == pytest.approx(weights[y == 1].sum(), rel=1e-4)


def test_weights_travel_with_their_shards(tmp_path: Path) -> None:
    dataset = loaded(tmp_path, class_weight="balanced")
    logits = {
        name: random_array(0, len(getattr(dataset, name)), 2) for name in ("train", "validation")
    }
    (part,) = training_shards(dataset, logits)
    there = pickle.loads(pickle.dumps(part)).examples()
    np.testing.assert_array_equal(there.weights, dataset.train.weights)
    validation = build_problem(dataset, logits).validation.examples()
    np.testing.assert_array_equal(validation.weights, dataset.validation.weights)


def test_estimators_get_the_weights_or_say_that_they_take_none() -> None:
    x, y = random_array(0, 80, 2), np.arange(80) % 2
    weights = np.linspace(0.1, 2, 80).astype(np.float32)
    plain = fit_weighted(LogisticRegression(), x, y, weights)
    piped = fit_weighted(
        make_pipeline(StandardScaler(with_mean=False, with_std=False), LogisticRegression()),
        x,
        y,
        weights,
    )
    expected = LogisticRegression().fit(x, y, weights).coef_
    np.testing.assert_allclose(plain.coef_, expected)
    np.testing.assert_allclose(piped[-1].coef_, expected)
    with pytest.warns(BdistilWarning, match="KNeighborsClassifier.* takes no weights"):
        fit_weighted(KNeighborsClassifier(), x, y, weights)


@pytest.mark.parametrize("teacher", ["mlp", "sklearn.linear_model:LogisticRegression"])
def test_rare_classes_are_found_when_they_count_alike(teacher: str, tmp_path: Path) -> None:
    """Teacher, students and choice: what is counted is how often the rare class is found."""
    path = table(tmp_path)
    recalls = {}
    for weight in ("null", "balanced"):
        settings = [f"data.path={path}", f"data.class_weight={weight}", f"teacher.model={teacher}"]
        settings += ["teacher.epochs=20", "space.epochs=20", "search.rounds=2", "workers.count=0"]
        if teacher != "mlp":
            settings.remove("teacher.epochs=20")
        spec = load_spec({"name": "w"}, settings)
        run = bdistil.search(spec, tmp_path / weight)
        dataset = load_dataset(spec.data, spec.seed)
        found = run.ensemble.predict(dataset.test.x) == "rare"
        recalls[weight] = found[dataset.test.y == 1].mean()
    assert recalls["balanced"] > recalls["null"] + 0.1
