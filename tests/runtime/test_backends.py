"""Backends by name, from any installed package; looked up only when one is asked for."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from deployed import deploy, examples

from bdistil import Predictor
from bdistil.errors import CheckpointError, MissingDependencyError, SpecError
from bdistil.runtime import backends


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    deploy(path, *[("mlp", 3, "dense", True)] * 2)
    return path


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package of a user's, with backends of its own."""
    (tmp_path / "mine-1.0.dist-info").mkdir()
    (tmp_path / "mine-1.0.dist-info" / "METADATA").write_text("Name: mine\nVersion: 1.0\n")
    (tmp_path / "mine-1.0.dist-info" / "entry_points.txt").write_text(
        "[bdistil.runners]\nzeros = zeros_of_mine:open_zeros\nbroken = zeros_of_mine:nothing\n"
        "heavy = heavy_of_mine:open\n"
    )
    (tmp_path / "zeros_of_mine.py").write_text(
        "import numpy as np\n"
        "class Zeros:\n"
        "    def __init__(self, outputs): self.outputs = outputs\n"
        "    def straight(self, x, stage): return np.zeros((len(x), self.outputs), np.float32)\n"
        "def open_zeros(folder, manifest, threads): return Zeros(manifest.outputs)\n"
    )
    (tmp_path / "heavy_of_mine.py").write_text("import a_package_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("zeros_of_mine", None)


def test_another_package_brings_a_backend(folder: Path, package: Path) -> None:
    assert "zeros_of_mine" not in sys.modules
    found = Predictor(folder, backend="zeros").predict_proba(examples("mlp"))
    np.testing.assert_allclose(found, 1 / 3)


def test_what_cannot_be_imported_is_said_in_one_sentence(folder: Path, package: Path) -> None:
    with pytest.raises(
        MissingDependencyError, match=r"'heavy' cannot be imported \(No module.*a_pa"
    ):
        Predictor(folder, backend="heavy")
    with pytest.raises(MissingDependencyError, match=r"'broken' cannot be imported .*nothing"):
        Predictor(folder, backend="broken")


def test_without_torch_graphs_or_the_extra_are_the_remedy(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "bdistil.export.torch_runner", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    remedy = r"ONNX graphs into .* `bdistil export --onnx`, .* pip install 'bdistil\[torch\]'"
    with pytest.raises(MissingDependencyError, match=remedy):
        Predictor(folder)


def test_an_unknown_backend_is_refused_with_those_there_are(folder: Path) -> None:
    with pytest.raises(SpecError, match="'tpu' is unknown; choose auto, int8, onnx, torch"):
        Predictor(folder, backend="tpu")


def test_graphs_in_8_bits_that_were_not_kept_are_told_at_once(folder: Path) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(CheckpointError, match=r"no graphs in 8 bits, .* --int8-anyway in any case"):
        Predictor(folder, backend="int8")


def test_graphs_are_taken_only_where_they_can_be_run(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "onnx").mkdir()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "onnx" / "prefix_1.onnx").write_bytes(b"")
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    assert type(Predictor(tmp_path).runner).__name__ == "TorchRunner"
    monkeypatch.undo()
    pytest.importorskip("onnxruntime")
    assert type(Predictor(tmp_path).runner).__name__ == "OnnxRunner"
