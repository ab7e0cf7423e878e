"""ONNX graphs, run by onnxruntime."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deployed import deploy, examples

from bdistil import Predictor
from bdistil.errors import CheckpointError
from bdistil.export import onnx_export
from bdistil.export.onnx_export import export_onnx

pytest.importorskip("onnxruntime")

MIXED = (
    ("mlp", 3, "none", True),
    ("mlp", 4, "lstm", True),
    ("mlp", 2, "lstm", False),
    ("mlp", 2, "dense", True),
    ("mlp", 2, "residual", False),
)
ENSEMBLES = {
    "mixed": MIXED,
    "cnn": [("cnn", 2, "dense", True)] * 2,
    "cnn1d": [("cnn1d", 1, "dense", True)] * 2,
    "gru": [("gru", 2, "gru", True)] * 2,
    "lstm": [("lstm", 2, "residual", True)] * 2,
}


@pytest.fixture(
    scope="module",
    params=[
        "mixed",
        *(pytest.param(n, marks=pytest.mark.nightly) for n in ENSEMBLES if n != "mixed"),
    ],
)
def exported(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    students = ENSEMBLES[request.param]
    ensemble = deploy(folder, *students)
    kind = students[0][0]
    assert export_onnx(ensemble, folder / "onnx", examples(kind)) < 1e-4
    return kind, folder


@pytest.mark.parametrize("count", [1, 13])
def test_graphs_take_any_batch_and_answer_as_torch(exported: tuple[str, Path], count: int) -> None:
    kind, folder = exported
    graphs, torches = Predictor(folder), Predictor(folder, backend="torch")
    x = examples(kind, count, seed=2)
    for mine, other in zip(graphs.stages(x), torches.stages(x), strict=True):
        np.testing.assert_allclose(mine.probabilities, other.probabilities, atol=1e-5)
    for stage in range(1, len(torches) + 1):
        mine, other = (p.predict_proba(x, stages=stage) for p in (graphs, torches))
        np.testing.assert_allclose(mine, other, atol=1e-5)
    budget = [p.predict_batch(x, "60%") for p in (graphs, torches)]
    np.testing.assert_array_equal(budget[0].stages, budget[1].stages)
    np.testing.assert_allclose(budget[0].probabilities, budget[1].probabilities, atol=1e-5)


def test_graphs_run_where_torch_is_not_installed(exported: tuple[str, Path]) -> None:
    kind, folder = exported
    np.save(folder / "x.npy", examples(kind))
    expected = Predictor(folder, backend="torch").predict(examples(kind), stages=2)
    script = textwrap.dedent("""
        import sys
        class Absent:
            def find_spec(self, name, *rest):
                if name.partition(".")[0] in ("torch", "pydantic", "safetensors", "yaml", "ray",
                                              "optuna", "typer", "rich", "sklearn", "pandas"):
                    raise ModuleNotFoundError(name)
        sys.meta_path.insert(0, Absent())
        import numpy as np
        from bdistil import Predictor
        folder = sys.argv[1]
        predictor, x = Predictor(folder), np.load(folder + "/x.npy")
        predictor.predict(x, deadline="1s"), predictor.predict(x, exit="confidence")
        predictor.predict_batch(x, "50%")
        print(*predictor.predict(x, stages=2), sep=",")
    """)
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().split(",") == expected.tolist()


def test_graphs_that_differ_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ensemble = deploy(tmp_path, ("mlp", 2, "none", True))
    right = onnx_export.StageGraph.forward

    def wrong(self: Any, x: torch.Tensor, logits: torch.Tensor, *rest: torch.Tensor) -> Any:
        after, *own = right(self, x, logits, *rest)
        return after + 0.01, *own

    monkeypatch.setattr(onnx_export.StageGraph, "forward", wrong)
    with pytest.raises(CheckpointError, match=r"differ from torch by 0\.01 in a logit"):
        export_onnx(ensemble, tmp_path / "onnx", examples("mlp"))
    assert not list((tmp_path / "onnx").glob("*"))


def test_a_missing_or_damaged_graph_is_named(exported: tuple[str, Path], tmp_path: Path) -> None:
    kind, folder = exported
    (tmp_path / "onnx").mkdir()
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    predictor = Predictor(tmp_path, backend="onnx")
    with pytest.raises(CheckpointError, match=r"prefix_1\.onnx is missing; export"):
        predictor.predict(examples(kind), stages=1)
    (tmp_path / "onnx" / "prefix_1.onnx").write_bytes(b"not a graph")
    with pytest.raises(CheckpointError, match=r"prefix_1\.onnx is damaged"):
        predictor.predict(examples(kind), stages=1)
