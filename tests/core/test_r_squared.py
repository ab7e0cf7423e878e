"""R² in its three places against scikit-learn's, and of targets that are all alike."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import r2_score
from tiny import tiny

from bdistil.cluster.launch import launch_search
from bdistil.core.examples import metric
from bdistil.core.scores import drawn_weights, scores
from bdistil.datasets.catalogue import load_dataset
from bdistil.errors import DataError
from bdistil.export.predict import predict_file
from bdistil.runtime.r_squared import r_squared
from bdistil.spec import DataSpec

RANDOM = np.random.default_rng(0)
TRUTH = RANDOM.normal(size=(80, 3)).astype(np.float32)
ANSWERS = (TRUTH + RANDOM.normal(size=TRUTH.shape) * [0.1, 1, 3]).astype(np.float32)


@given(unit=st.floats(1e-12, 1e12), offset=st.integers(-3, 3))
def test_units_do_not_matter(unit: float, offset: int) -> None:
    truth = ((TRUTH + offset) * np.float32(unit)).astype(np.float32)
    answers = ((ANSWERS + offset) * np.float32(unit)).astype(np.float32)
    expected = r2_score(truth.astype(float), answers.astype(float))
    assert r_squared(answers, truth) == pytest.approx(expected, abs=1e-9)
    found = metric(torch.from_numpy(answers), torch.from_numpy(truth), "regression")
    assert found == pytest.approx(expected, abs=1e-9)


def test_targets_that_are_alike_are_left_out() -> None:
    truth, expected = TRUTH.copy(), r2_score(*map(np.float64, (TRUTH[:, :2], ANSWERS[:, :2])))
    truth[:, 2] = 0.1
    tensors = torch.from_numpy(ANSWERS), torch.from_numpy(truth)
    assert r_squared(ANSWERS, truth) == pytest.approx(expected, abs=1e-9)
    assert metric(*tensors, "regression") == pytest.approx(expected, abs=1e-6)
    one = torch.ones(80)
    one[:40] = 0
    truth[:40, 2] = 7  # in rows that do not count
    tensors = torch.from_numpy(ANSWERS), torch.from_numpy(truth)
    half = r2_score(TRUTH[40:, :2], ANSWERS[40:, :2])
    assert metric(*tensors, "regression", one) == pytest.approx(half, abs=1e-6)


def test_nothing_is_said_where_all_are_alike() -> None:
    truth = np.full((5, 2), 0.1, np.float32)
    assert r_squared(ANSWERS[:5, :2], truth) is None
    assert r_squared(ANSWERS[:1], TRUTH[:1]) is None
    assert metric(torch.from_numpy(ANSWERS[:5, :2]), torch.from_numpy(truth), "regression") == 0


def table(**columns: Any) -> pd.DataFrame:
    x = RANDOM.normal(size=(120, 3))
    frame = pd.DataFrame(x, columns=["p", "q", "r"])
    return frame.assign(a=x[:, 0] + x[:, 1], **columns)


def test_a_constant_among_targets_is_refused(tmp_path: Path) -> None:
    table(c=3.5).to_csv(tmp_path / "a.csv", index=False)
    spec = DataSpec(path=tmp_path / "a.csv", label=["a", "c"])
    with pytest.raises(DataError, match=r"label column 'c' holds only one value, 3\.5, .* leave"):
        load_dataset(spec, 0)
    np.savez(tmp_path / "a.npz", x=TRUTH, y=np.column_stack([TRUTH[:, 0], np.full(80, 2.0)]))
    with pytest.raises(DataError, match="column '1' holds only one value"):
        load_dataset(DataSpec(path=tmp_path / "a.npz"), 0)


def test_a_target_that_hardly_varies_harms_no_other(tmp_path: Path) -> None:
    """Its values are all alike in validation and test."""
    part = np.repeat(["train", "validation", "test"], [80, 20, 20])
    rare = np.where(np.arange(120) < 2, 1.5, 0.0)
    frame = table(c=rare, part=part)
    frame.to_csv(tmp_path / "a.csv", index=False)
    data = f"data={{path: {str(tmp_path / 'a.csv')!r}, label: [a, c], split: part}}"
    quick = ("teacher={model: mlp, epochs: 60}", "space.student=mlp", "space.epochs=5")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        spec = tiny(data, *quick, "workers.count=0", "search.rounds=1")
        result = launch_search(spec, tmp_path / "run")
    assert result.evaluation is not None
    assert -1 < result.evaluation.stages[0].metric < result.evaluation.teacher.metric <= 1
    assert "1 target of 2 has one value in validation; R² is of the others" in str(result.data_card)
    one = frame[:1]
    one.to_csv(tmp_path / "one.csv", index=False)
    found = predict_file(tmp_path / "run", tmp_path / "one.csv").comparison
    assert found is not None
    assert (found.metric, found.rows) == (None, 1)


def test_small_units_do_not_flatter_what_knows_nothing(tmp_path: Path) -> None:
    frame = table()
    frame["a"] *= 1e-9
    frame.to_csv(tmp_path / "a.csv", index=False)
    card = load_dataset(DataSpec(path=tmp_path / "a.csv", label="a"), 0).card
    assert card is not None
    assert card.guess_metric is not None
    assert card.guess_metric <= 0


def test_bootstraps_without_variance_say_nothing() -> None:
    truth = np.zeros((200, 1), np.float32)
    truth[0] = 1.5
    weights = drawn_weights(200)
    found = scores(np.full_like(truth, 0.3), truth, "regression", weights)["R²"]
    without = weights[:, 0] == 0
    assert without.any()
    assert np.isnan(found[without]).all()
    assert np.isfinite(found[~without]).all()
    assert found[~without].min() > -50
