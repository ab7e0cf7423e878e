"""LiteRT models, run by its own runtime; skipped where the extra is not installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small_ensembles import inputs, small_ensemble
from torch import Tensor

from bdistil.errors import CheckpointError, MissingDependencyError, SpecError
from bdistil.export import litert_export
from bdistil.export.graphs import StageGraph, stage_inputs
from bdistil.export.litert_export import LiteRTModel, export_litert
from bdistil.optional import advice_if_missing

missing = advice_if_missing("litert_torch", "litert")
needs_litert = pytest.mark.skipif(missing is not None, reason=missing or "")

ENSEMBLES: dict[str, list[tuple[str, int, Any, bool]]] = {
    "mlp": [("mlp", 4, "none", True), ("mlp", 5, "dense", True), ("mlp", 4, "lstm", False)],
    "cnn": [("cnn", 2, "none", True), ("convnet", 3, "gru", True), ("vit", 1, "none", True)],
    "images": [(kind, 2, "none", True) for kind in ("resnet", "separable", "inverted")],
    "cnn1d": [("cnn1d", 2, "none", True), ("cnn1d", 3, "residual", False)],
    "fcn": [("fcn", 2, "none", True), ("fcn", 3, "residual", False)],
    "spectrogram": [("spectrogram", 1, "none", True), ("spectrogram", 2, "dense", True)],
    "gru": [("gru", 3, "none", True), ("lstm", 4, "dense", True), ("fastgrnn", 2, "none", True)],
}


@needs_litert
@pytest.mark.parametrize(
    "kind", ["mlp", *(pytest.param(k, marks=pytest.mark.nightly) for k in ENSEMBLES if k != "mlp")]
)
def test_models_answer_as_torch(kind: str, tmp_path: Path, capfd: Any) -> None:
    torch.manual_seed(0)
    shape = "cnn" if kind == "images" else kind
    ensemble, x = (
        small_ensemble(*ENSEMBLES[kind], input_shape=tuple(inputs(shape).shape[1:])),
        inputs(shape),
    )
    capfd.readouterr()
    assert export_litert(ensemble, tmp_path, x.numpy()) <= 1e-4
    assert capfd.readouterr() == ("", "")
    stages = range(1, len(ensemble) + 1)
    names = {f"{way}_{stage}.tflite" for way in ("stage", "prefix") for stage in stages}
    assert {path.name for path in tmp_path.iterdir()} == names | {"hashes.json"}

    def run(name: str, *tensors: Tensor) -> list[Tensor]:
        return LiteRTModel((tmp_path / name).read_bytes())(tensors)

    example = x[3:4]
    state = [example, torch.zeros(1, ensemble.outputs)]
    with torch.no_grad():
        expected = list(ensemble.stages(example))
    for stage in stages:
        logits, *cached = run(f"stage_{stage}.tflite", *state)
        state = [example, logits, *state[2:], *cached]
        [straight] = run(f"prefix_{stage}.tflite", example)
        for found in (logits, straight):
            torch.testing.assert_close(found, expected[stage - 1], atol=1e-5, rtol=1e-5)


@needs_litert
def test_models_that_differ_are_refused_and_the_old_ones_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensemble, x = small_ensemble(("mlp", 2, "none", True)), inputs("mlp").numpy()
    export_litert(ensemble, tmp_path, x)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    right = litert_export._converted

    def wrong(graph: Any, given: list[Tensor], kind: str) -> bytes:
        with torch.no_grad():
            graph.scale.mul_(2)
            content = right(graph, given, kind)
            graph.scale.div_(2)
        return content

    monkeypatch.setattr(litert_export, "_converted", wrong)
    with pytest.raises(CheckpointError, match=r"stage_1\.tflite: the program differs"):
        export_litert(ensemble, tmp_path, x)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@needs_litert
def test_what_cannot_be_converted_is_refused_by_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensemble, x = small_ensemble(("mlp", 2, "none", True)), inputs("mlp").numpy()
    assert len(list(stage_inputs(ensemble, x))) == 1

    def odd(self: Any, x: Tensor, logits: Tensor, *rest: Tensor) -> Any:
        return (logits if x.sum() > 0 else -logits), x

    monkeypatch.setattr(StageGraph, "forward", odd)
    with pytest.raises(SpecError, match=r"litert-torch cannot convert a student of class 'mlp' \("):
        export_litert(ensemble, tmp_path / "litert", x)
    assert not (tmp_path / "litert").exists()


def test_without_the_package_one_sentence_says_what_to_install(
    bdistil: Any, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "litert_torch", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'bdistil\[litert\]'"):
        export_litert(small_ensemble(("mlp", 2, "none", True)), tmp_path, inputs("mlp").numpy())
    answer = bdistil("export", run, "--out", tmp_path / "model", "--litert")
    assert answer.status
    assert "litert_torch is not installed" in " ".join(answer.errors.split())
    assert not (tmp_path / "model").exists()
