"""Ensembles whose examples have several labels: each is a question of its own, no or yes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from deployed import deploy, examples
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bdistil.export.ensemble import Ensemble
from bdistil.export.predict import predict_file
from bdistil.runtime.confidence import no_or_yes, softmax
from bdistil.runtime.exits import SCORES, ExitPolicy
from bdistil.runtime.predictor import Predictor

NAMES = ("red", "round", "soft")
STUDENTS = [("mlp", 3, "dense", True)] * 4
COLUMNS = {"features": [{"name": name} for name in "abcde"], "label": NAMES}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("labels")
    deploy(path, *STUDENTS, task="multilabel", class_names=NAMES, columns=COLUMNS)
    return path


traces = arrays.arrays(np.float64, (3, 5, 4), elements=st.floats(-30, 30))


@given(logits=traces)
def test_an_example_is_as_sure_as_its_least_sure_label(logits):
    trace = [softmax(no_or_yes(stage)) for stage in logits]
    for name in ("confidence", "margin", "patience", "stability"):
        by_label = [SCORES[name]([stage[:, j] for stage in trace]) for j in range(4)]
        np.testing.assert_allclose(SCORES[name](trace), np.min(by_label, axis=0), atol=1e-12)


def test_answers_are_labels_with_calibrated_probabilities(folder: Path) -> None:
    predictor, x = Predictor(folder), examples("mlp", 50)
    ensemble = Ensemble.from_pretrained(folder)
    answer = predictor.answer(x, stages=2)
    with torch.no_grad():
        logits = ensemble(torch.as_tensor(x), stages=2)
    temperature = ensemble.config.calibration.temperatures[1]
    np.testing.assert_array_equal(answer.values, ensemble.predict(x, stages=2))
    np.testing.assert_array_equal(answer.values, (logits > 0).numpy())
    np.testing.assert_allclose(answer.probabilities, (logits / temperature).sigmoid(), atol=1e-6)
    assert answer.values.dtype == np.int64
    assert 0 < answer.values.mean() < 1


@pytest.mark.parametrize("score", ["confidence", "margin", "patience", "stability"])
def test_examples_leave_once_all_their_labels_are_sure(folder: Path, score: str) -> None:
    predictor, x = Predictor(folder), examples("mlp", 60)
    policies = {"patience": ExitPolicy("patience", 1)}
    answer = predictor.answer(
        x, exit=policies.get(score) or predictor.policy(score, budget="75%", by="flops").policy
    )
    assert 1 <= answer.stages.min() < answer.stages.max() <= 4
    for stage in np.unique(answer.stages):
        rows = answer.stages == stage
        straight = predictor.answer(x[rows], stages=int(stage))
        np.testing.assert_array_equal(answer.values[rows], straight.values)


def test_the_last_stage_has_the_full_metric(folder: Path) -> None:
    never = [p for p in Predictor(folder).manifest.exits if np.isinf(p.policy.threshold)]
    assert {point.metric for point in never} == {1.0}  # its answers were taken for the truth


def test_a_budget_goes_to_the_least_sure(folder: Path) -> None:
    predictor, x = Predictor(folder), examples("mlp", 40)
    answer = predictor.predict_batch(x, "70%")
    first = predictor.answer(x, stages=1).probabilities
    sure = np.maximum(first, 1 - first).min(axis=1)
    stayed = answer.stages > 1
    assert 0 < stayed.sum() < 40
    assert sure[stayed].max() <= sure[~stayed].min()


def test_predictions_of_a_file_have_two_columns_a_label(folder: Path, tmp_path: Path) -> None:
    x = examples("mlp", 4)
    right = Ensemble.from_pretrained(folder).predict(x)
    frame = pd.DataFrame(x, columns=list("abcde")).assign(
        red=["true" if label else "false" for label in right[:, 0]],
        round=right[:, 1],
        soft=[*right[:3, 2], "?"],
    )
    frame.to_csv(tmp_path / "mine.csv", index=False)
    found = predict_file(folder, tmp_path / "mine.csv")
    assert found.header == [f"{k}_{name}" for k in ("prediction", "probability") for name in NAMES]
    assert [row[:3] for row in found.rows] == right.tolist()
    assert all(
        (float(p) > 0.5) == d for row in found.rows for d, p in zip(row[:3], row[3:], strict=True)
    )
    unknown = "1 label is none of 0, 1, true and false, such as '?'"
    assert found.comparison == (1.0, "micro F1", 3, unknown)
    frame.drop(columns="soft").to_csv(tmp_path / "bare.csv", index=False)
    assert predict_file(folder, tmp_path / "bare.csv").comparison is None


def test_targets_of_a_table_keep_their_names(tmp_path: Path) -> None:
    deploy(tmp_path, *STUDENTS, task="regression", class_names=None, columns=COLUMNS)
    pd.DataFrame(examples("mlp", 2), columns=list("abcde")).to_csv(tmp_path / "x.csv")
    found = predict_file(tmp_path, tmp_path / "x.csv")
    assert found.header == [f"prediction_{name}" for name in NAMES]


def test_graphs_answer_alike(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    from bdistil.export.onnx_export import export_onnx

    ensemble, x = deploy(tmp_path, STUDENTS[0], task="multilabel"), examples("mlp", 20)
    export_onnx(ensemble, tmp_path / "onnx", x)
    by_torch, by_graph = (Predictor(tmp_path, backend=name) for name in ("torch", "onnx"))
    np.testing.assert_array_equal(by_torch.predict(x), by_graph.predict(x))
