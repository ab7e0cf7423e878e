"""Products over the stages: by hand, in every way of asking, and by onnxruntime as by torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from deployed import deploy, examples
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bdistil.errors import SpecError
from bdistil.export.onnx_export import export_onnx
from bdistil.runtime.confidence import softmax
from bdistil.runtime.predictor import Predictor
from bdistil.runtime.product import log_factor, product_logits, share_turned_wrong

STUDENTS = (("mlp", 3, "none", True), ("mlp", 4, "dense", True), ("mlp", 2, "dense", True))
LOGITS = arrays.arrays(
    np.float32, (4, 5, 3), elements=st.integers(-8, 8).map(lambda value: value / 4)
)


def by_hand(stages: np.ndarray) -> list[np.ndarray]:
    """Probabilities after each stage; a stage's own softmax where all classes are ruled out."""
    product, found = np.ones(stages.shape[1:]), []
    for number, logits in enumerate(stages.astype(float), start=1):
        product = product * np.maximum(logits, 0) ** (number / len(stages))
        total = product.sum(axis=1, keepdims=True)
        own = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        found.append(np.where(total > 0, product / np.where(total > 0, total, 1), own))
    return found


@given(LOGITS)
def test_they_are_the_papers(stages: np.ndarray) -> None:
    logs: np.ndarray = np.float32(0)  # type: ignore[assignment]
    for number, (logits, expected) in enumerate(zip(stages, by_hand(stages), strict=True), start=1):
        logs = logs + log_factor(logits, number, len(stages))
        found = product_logits(logs, logits)
        assert np.isfinite(found).all()
        np.testing.assert_allclose(softmax(found), expected, atol=1e-6)


@given(LOGITS)
def test_a_class_that_is_ruled_out_stays_so(stages: np.ndarray) -> None:
    out = np.zeros(stages.shape[1:], bool)
    for logits, found in zip(stages, by_hand(stages), strict=True):
        out |= logits <= 0
        assert (found[out & ~out.all(axis=1, keepdims=True)] == 0).all()


@given(arrays.arrays(bool, st.tuples(st.integers(1, 5), st.integers(1, 9))))
def test_the_share_turned_wrong_is_counted_pair_by_pair(right: np.ndarray) -> None:
    pairs = [(s, t) for t in range(len(right)) for s in range(t)]
    turned = [any(row[s] and not row[t] for s, t in pairs) for row in right.T]
    assert share_turned_wrong(right) == pytest.approx(np.mean(turned))


@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_a_predictor_answers_so_in_every_way(tmp_path: Path, backend: str) -> None:
    ensemble, x = deploy(tmp_path, *STUDENTS), examples("mlp", 40)
    if backend == "onnx":
        export_onnx(ensemble, tmp_path / "onnx", x)
    predictor = Predictor(tmp_path, backend=backend, product=True)
    runner = Predictor(tmp_path, backend="torch").runner
    expected = by_hand(np.stack([runner.straight(x, stage) for stage in (1, 2, 3)]))
    for stage, (answer, right) in enumerate(zip(predictor.stages(x), expected, strict=True), 1):
        straight = predictor.predict_proba(x, stages=stage)
        for found in (answer.probabilities, straight):
            np.testing.assert_allclose(found, right, atol=1e-4)
    np.testing.assert_array_equal(predictor.predict(x), predictor.predict(x, deadline=60.0))
    policy = predictor.policy(on=(x, predictor.predict(x)))
    assert predictor.predict(x, exit=policy).shape == (40,)
    assert len(predictor.predict(x[:0])) == 0


def test_other_tasks_have_none(tmp_path: Path) -> None:
    deploy(tmp_path, *STUDENTS, task="regression", class_names=None)
    with pytest.raises(
        SpecError, match=r"product=True is for classes, and the task of 'small' is regress"
    ):
        Predictor(tmp_path, backend="torch", product=True)


def test_what_only_calibrated_answers_have_is_told(tmp_path: Path) -> None:
    """Another export would not help."""
    deploy(tmp_path, *STUDENTS)
    predictor, x = Predictor(tmp_path, backend="torch", product=True), examples("mlp", 4)
    for ask in (lambda: predictor.predict(x, exit="confidence"), predictor.policy):
        with pytest.raises(SpecError, match=r"exits of products .*policy\(on=\(x, y\)\)\.$"):
            ask()
    with pytest.raises(SpecError, match="product=True and a teacher do not go together"):
        Predictor(tmp_path, backend="torch", product=True, teacher=lambda x: x)


def test_products_have_no_streams(tmp_path: Path) -> None:
    deploy(tmp_path, ("gru", 3, "none", True), ("gru", 3, "none", True))
    with pytest.raises(SpecError, match="products over the stages have no streams"):
        Predictor(tmp_path, product=True).stream()
