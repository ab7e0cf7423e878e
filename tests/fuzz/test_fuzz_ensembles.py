"""Saved ensembles, graphs and questions of any content: finite answers, or one sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deployed import config_to_change, deploy
from fuzzing import damaged, fuzz, hostile, mutated, right_or_one_sentence
from hypothesis import given
from hypothesis import strategies as st

from bdistil import Ensemble, Predictor
from bdistil.export.onnx_export import export_onnx

pytestmark = pytest.mark.filterwarnings("ignore")
STUDENTS = [("mlp", 3, "dense", True), ("mlp", 2, "none", True)]
COLUMNS = {
    "features": [
        {"name": "a", "missing": 2, "fill": [0.5]},
        {"name": "city", "categories": ["Oslo", "Rome"]},
        {"name": "b"},
    ],
    "label": "y",
}
X = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    ensemble = deploy(folder, *STUDENTS, columns=COLUMNS)
    export_onnx(ensemble, folder, X)
    return folder


@pytest.fixture(scope="module")
def copy(saved: Path) -> Path:
    return Path(shutil.copytree(saved, saved.with_name("copy")))


def ask(folder: Path, backend: Any) -> None:
    with right_or_one_sentence():
        predictor = Predictor(folder, backend=backend)
        for stage in range(1, len(predictor) + 1):
            answer = predictor.answer(X, stages=stage)
            if answer.probabilities is not None:
                assert np.isfinite(answer.probabilities).all()


@fuzz(120)
@given(st.data())
def test_configs_of_any_content(saved: Path, copy: Path, data: st.DataObject) -> None:
    config = config_to_change(saved)
    tree = data.draw(mutated(config))
    (copy / "config.json").write_text(json.dumps(tree))
    backend = data.draw(st.sampled_from(("torch", "onnx")))
    ask(copy, backend)
    with right_or_one_sentence():
        Ensemble.from_pretrained(copy)


@fuzz(120)
@given(st.data())
def test_damaged_files(saved: Path, copy: Path, data: st.DataObject) -> None:
    file = data.draw(st.sampled_from(sorted(path for path in saved.rglob("*") if path.is_file())))
    damage = copy / file.relative_to(saved)
    damage.write_bytes(data.draw(damaged(file.read_bytes())))
    try:
        ask(copy, "onnx" if damage.suffix == ".onnx" else "torch")
    finally:
        damage.write_bytes(file.read_bytes())


ARRAYS = st.sampled_from(
    [np.zeros((0, 5)), np.zeros(5), X.astype(object), X.astype("U9"), X[:, :2]]
)
TABLES = st.dictionaries(
    st.sampled_from(("a", "b", "city", "y", "")), st.lists(hostile, max_size=3) | hostile
)
WAYS = st.fixed_dictionaries({}, optional=dict.fromkeys(("stages", "deadline", "exit"), hostile))


@fuzz(150)
@given(ARRAYS | TABLES | st.lists(TABLES, max_size=3) | hostile, WAYS | st.just({}))
def test_questions_of_any_kind(saved: Path, question: Any, way: dict[str, Any]) -> None:
    if isinstance(way.get("deadline"), int | float) and way["deadline"] > 1:
        way["deadline"] = 0.01
    predictor = Predictor(saved, backend="torch")
    with right_or_one_sentence():
        answer = predictor.answer(question, **way)
        assert np.isfinite(answer.probabilities).all()
