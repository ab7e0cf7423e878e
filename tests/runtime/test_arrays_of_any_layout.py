"""Arrays as slices leave them: backwards, in steps, in Fortran's order, not to be written to."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from deployed import examples
from small_ensembles import small_ensemble

from bdistil import Predictor
from bdistil.export.ensemble import Ensemble
from bdistil.export.onnx_export import export_onnx
from bdistil.runtime.exits import ExitPolicy


def locked(x: np.ndarray) -> np.ndarray:
    same = x.copy()
    same.setflags(write=False)
    return same


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "backwards": lambda x: x[::-1].copy()[::-1],
    "features backwards": lambda x: x[..., ::-1].copy()[..., ::-1],
    "in steps": lambda x: np.repeat(x, 2, axis=0)[::2],
    "Fortran": np.asfortranarray,
    "locked": locked,
    "big end first": lambda x: x.astype(">f4"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("model")
    ensemble = small_ensemble(("gru", 3, "dense", True), ("cnn1d(cells=1)", 4, "dense", True))
    rules = (ensemble.shift[:1], ensemble.scale[:1])  # so that it streams
    ensemble = Ensemble(ensemble.config, list(ensemble), *rules)
    ensemble.save_pretrained(place)
    export_onnx(ensemble, place / "onnx", examples("gru"))
    return place


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_answers_are_the_same(folder: Path, backend: str, layout: str) -> None:
    predictor, x = Predictor(folder, backend=backend), examples("gru")
    same = LAYOUTS[layout](x)
    np.testing.assert_array_equal(same, x)
    expected = predictor.predict_proba(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = [
            predictor.predict_proba(same),
            predictor.predict_proba(same, deadline=60.0),
            predictor.predict_proba(same, exit=ExitPolicy("confidence", 2.0)),
            [answer.probabilities for answer in predictor.stages(same)][-1],
            predictor.stream().push(same)[-1].probabilities,
        ]
    for probabilities in found:
        np.testing.assert_allclose(probabilities, expected, atol=1e-6)
