"""ExecuTorch programs, run by its own runtime; skipped where the extra is not installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small_ensembles import inputs, small_ensemble

from bdistil.errors import CheckpointError
from bdistil.export import executorch_export
from bdistil.export.executorch_export import export_executorch
from bdistil.export.graphs import StageGraph, stage_inputs

pytest.importorskip("executorch", reason="needs the extra executorch")

ENSEMBLES: dict[str, list[tuple[str, int, Any, bool]]] = {
    "mlp": [("mlp", 4, "none", True), ("mlp", 5, "dense", True), ("mlp", 4, "lstm", False)],
    "cnn": [("cnn", 2, "none", True), ("cnn", 3, "gru", True)],
    "cnn1d": [("cnn1d", 2, "none", True), ("cnn1d", 3, "residual", False)],
    "fcn": [("fcn", 2, "none", True), ("fcn", 3, "residual", False)],
    "spectrogram": [("spectrogram", 1, "none", True), ("spectrogram", 2, "dense", True)],
    "gru": [("gru", 3, "none", True), ("gru", 4, "dense", True)],
}


@pytest.mark.parametrize(
    "kind", ["mlp", *(pytest.param(k, marks=pytest.mark.nightly) for k in ENSEMBLES if k != "mlp")]
)
def test_programs_answer_as_torch(kind: str, tmp_path: Path) -> None:
    from executorch.runtime import Runtime

    torch.manual_seed(0)
    ensemble, x = small_ensemble(*ENSEMBLES[kind]), inputs(kind)
    assert export_executorch(ensemble, tmp_path, x.numpy()) <= 1e-4
    stages = len(ensemble)
    names = {f"{way}_{stage}.pte" for way in ("stage", "prefix") for stage in range(1, stages + 1)}
    assert {path.name for path in tmp_path.iterdir()} == names

    def run(name: str, *tensors: torch.Tensor) -> list[torch.Tensor]:
        program = Runtime.get().load_program(str(tmp_path / name))
        return list(program.load_method("forward").execute(list(tensors)))

    example = x[3:4]
    state = [example, torch.zeros(1, ensemble.outputs)]
    with torch.no_grad():
        expected = list(ensemble.stages(example))
    for stage in range(1, stages + 1):
        logits, *cached = run(f"stage_{stage}.pte", *state)
        state = [example, logits, *state[2:], *cached]
        [straight] = run(f"prefix_{stage}.pte", example)
        for answer in (logits, straight):
            torch.testing.assert_close(answer, expected[stage - 1], atol=1e-4, rtol=0)


def test_a_program_that_differs_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensemble = small_ensemble(*ENSEMBLES["mlp"])
    [first, *_] = stage_inputs(ensemble, inputs("mlp", 1).numpy())
    lowered = executorch_export._lowered
    other = small_ensemble(*ENSEMBLES["mlp"])

    def wrong(graph: Any, example: Any) -> bytes:
        return lowered(StageGraph(other, 1).eval(), first)

    monkeypatch.setattr(executorch_export, "_lowered", wrong)
    with pytest.raises(CheckpointError, match="differs from the ensemble by"):
        export_executorch(ensemble, tmp_path, inputs("mlp").numpy())
    assert list(tmp_path.iterdir()) == []
