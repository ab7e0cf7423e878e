"""Graphs in 8 bits: whose answers they depend on, and when they are kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deployed import examples
from small_ensembles import small_ensemble

from bdistil import Predictor
from bdistil.export.onnx_export import export_onnx
from bdistil.export.onnx_quantise import quantise_onnx
from bdistil.export.worth_of_int8 import Worth, keep_if_worth
from bdistil.runtime.onnx_runner import ONNX_FOLDER

pytest.importorskip("onnxruntime")


@pytest.mark.parametrize("kind", ["mlp", "cnn", pytest.param("gru", marks=pytest.mark.nightly)])
def test_no_example_changes_the_answers_to_others(kind: str, tmp_path: Path) -> None:
    ensemble = small_ensemble((kind, 3, "none", True), (kind, 3, "dense", True))
    ensemble.save_pretrained(tmp_path)
    x = examples(kind)
    export_onnx(ensemble, tmp_path / ONNX_FOLDER, x)
    quantise_onnx(tmp_path, x)
    predictor = Predictor(tmp_path, backend="int8")
    wild = x.copy()
    wild[0] *= 1000
    for stage in (1, 2):
        calm, upset = (predictor.runner.straight(each, stage)[1:] for each in (x, wild))
        np.testing.assert_array_equal(calm, upset)
    progress = [predictor.runner.advance(predictor.runner.begin(each)) for each in (x, wild)]
    calm, upset = (predictor.runner.advance(each).logits[1:] for each in progress)
    np.testing.assert_array_equal(calm, upset)
    full = Predictor(tmp_path, backend="onnx").runner.straight(x, 2)
    ours = predictor.runner.straight(x, 2)
    assert np.corrcoef(ours.ravel(), full.ravel())[0, 1] > 0.8
    if kind != "gru":
        assert not np.array_equal(ours, full)


WORTH = {
    "better": (Worth((0.8, 0.9), (0.7, 0.899), (2.0, 1.0)), None),
    "lossy": (Worth((0.8, 0.9), (0.8, 0.85), (2.0, 1.0)), "they lose 0.0500 at the last stage"),
    "slow": (Worth((0.8, 0.9), (0.8, 0.9), (1.0, 1.5)), "they are no faster here"),
}


@pytest.mark.parametrize(("worth", "fault"), WORTH.values(), ids=WORTH)
@pytest.mark.parametrize("insisted", [False, True])
def test_they_stay_where_they_are_worth_it_or_insisted_on(
    worth: Worth, fault: str | None, insisted: bool, tmp_path: Path
) -> None:
    folder = tmp_path / "onnx-int8"
    folder.mkdir()
    said = keep_if_worth(worth, folder, insisted)
    assert folder.exists() == (fault is None or insisted)
    assert said.startswith("kept" if folder.exists() else "not kept: ")
    assert (fault or "kept") in said


def test_what_became_of_them_is_said(
    bdistil: Callable[..., Any], run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "model"
    answer = bdistil("export", run, "--out", out, "--int8")
    assert answer.status == 0
    assert ("--int8-anyway keeps them" in answer.printed) != (out / "onnx-int8").exists()
