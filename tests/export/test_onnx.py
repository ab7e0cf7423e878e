"""ONNX graphs, run by onnxruntime."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deployed import deploy, examples
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from small_ensembles import small_ensemble

from bdistil import Predictor
from bdistil.errors import CheckpointError
from bdistil.export import onnx_export
from bdistil.export.config import CONFIG
from bdistil.export.ensemble import Ensemble
from bdistil.export.graphs import difference_of
from bdistil.export.onnx_export import export_onnx
from bdistil.export.onnx_quantise import quantise_onnx
from bdistil.export.torch_export import export_programs
from bdistil.runtime.onnx_runner import OnnxRunner

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
    "fcn": [("fcn", 1, "dense", True)] * 2,
    "spectrogram": [("spectrogram", 1, "dense", True)] * 2,
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
    assert export_onnx(ensemble, folder / "onnx", examples(kind)).difference < 1e-4
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


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept") / "model"
    """A folder with graphs of two stages."""
    ensemble = deploy(folder, *[("mlp", 3, "dense", True)] * 2)
    export_onnx(ensemble, folder / "onnx", examples("mlp"))
    return folder


@pytest.fixture
def model(kept: Path, tmp_path: Path) -> Path:
    """A model of the test's own: graphs take long to write."""
    return Path(shutil.copytree(kept, tmp_path / "model"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_an_export_that_fails_leaves_the_old_one_working(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(model)
    ensemble = Ensemble.from_pretrained(model)
    right = onnx_export.StageGraph.forward

    def wrong(self: Any, x: torch.Tensor, logits: torch.Tensor, *rest: torch.Tensor) -> Any:
        after, *own = right(self, x, logits, *rest)
        return after + 0.01, *own

    monkeypatch.setattr(onnx_export.StageGraph, "forward", wrong)
    for target in (model / "onnx", model / "new"):
        with pytest.raises(CheckpointError, match=r"differ from torch by 0\.0\d+ of a row"):
            export_onnx(ensemble, target, examples("mlp"))
    assert contents(model) == before
    assert not (model / "new").exists()


def test_a_shorter_ensemble_leaves_no_graph_of_later_stages(model: Path) -> None:
    short = Ensemble.from_pretrained(model).truncated(1)
    with short.saving(model) as folder:
        export_onnx(short, folder / "onnx", examples("mlp"))
    names = {path.name for path in (model / "onnx").iterdir()}
    assert names == {"model.onnx", "stage_1.onnx", "prefix_1.onnx", "hashes.json"}
    assert len(Predictor(model, backend="onnx").predict(examples("mlp"))) == 9


def test_all_stages_at_once(model: Path) -> None:
    ensemble, x = Ensemble.from_pretrained(model), examples("mlp", 6, seed=3)
    with torch.no_grad():
        expected = torch.stack(list(ensemble.stages(torch.as_tensor(x))), dim=1)
    found = OnnxRunner(model / "onnx", ensemble.outputs).every_stage(x)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_one_file_says_what_it_is(model: Path) -> None:
    onnx = pytest.importorskip("onnx")
    metadata = onnx.load(model / "onnx" / "model.onnx").metadata_props
    (config,) = (entry.value for entry in metadata if entry.key == "bdistil.config")
    assert CONFIG.validate_json(config) == Ensemble.from_pretrained(model).config


def test_files_hold_nothing_of_the_machine_that_wrote_them(model: Path) -> None:
    export_programs(Ensemble.from_pretrained(model), model / "programs", examples("mlp"))
    places = [str(Path(__file__).parents[2]), "site-packages", "stack_trace", "def forward"]
    for file in (*model.glob("onnx/*"), *model.glob("programs/*")):
        content = file.read_bytes()
        if file.suffix == ".pt2":
            with zipfile.ZipFile(file) as archive:
                content = b"".join(map(archive.read, archive.namelist()))
        assert not [place for place in places if place.encode() in content], file


@pytest.mark.parametrize("backend", ["onnx", "int8"])
@pytest.mark.parametrize("change", ["a byte", "another stage's", "another ensemble's"])
def test_changed_graphs_are_refused(
    model: Path, tmp_path_factory: pytest.TempPathFactory, backend: str, change: str
) -> None:
    quantise_onnx(model, examples("mlp"))
    graph = model / ("onnx" if backend == "onnx" else "onnx-int8") / "prefix_2.onnx"
    content = bytearray(graph.read_bytes())
    if change == "another ensemble's":
        other = tmp_path_factory.mktemp("other")
        torch.manual_seed(7)
        small_ensemble(*[("mlp", 3, "dense", True)] * 2).save_pretrained(other)
        (other / graph.parent.name).mkdir()
        for file in graph.parent.iterdir():
            (other / graph.parent.name / file.name).write_bytes(file.read_bytes())
        model, message = other, "was made of other weights"
    else:
        content[len(content) // 2] ^= 1
        wrong = graph.with_name("prefix_1.onnx").read_bytes()
        graph.write_bytes(bytes(content) if change == "a byte" else wrong)
        message = "is damaged or another file"
    with pytest.raises(CheckpointError, match=message):
        Predictor(model, backend=backend).predict(examples("mlp"))


def test_a_missing_or_damaged_graph_is_named(exported: tuple[str, Path], tmp_path: Path) -> None:
    kind, folder = exported
    (tmp_path / "onnx").mkdir()
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    predictor = Predictor(tmp_path, backend="onnx")
    with pytest.raises(CheckpointError, match=r"prefix_1\.onnx is missing; export"):
        predictor.predict(examples(kind), stages=1)
    (tmp_path / "onnx" / "prefix_1.onnx").write_bytes(b"not a graph")
    with pytest.raises(CheckpointError, match=r"hashes\.json, by which .* is missing; export"):
        predictor.predict(examples(kind), stages=1)
    hashes = (folder / "onnx" / "hashes.json").read_bytes()
    (tmp_path / "onnx" / "hashes.json").write_bytes(hashes)
    predictor = Predictor(tmp_path, backend="onnx")
    with pytest.raises(CheckpointError, match=r"prefix_1\.onnx is damaged"):
        predictor.predict(examples(kind), stages=1)


def test_far_outliers_do_not_stop_an_export(kept: Path, tmp_path: Path) -> None:
    ensemble = Ensemble.from_pretrained(kept)
    found = export_onnx(ensemble, tmp_path / "onnx", examples("mlp") * np.float32(1e5))
    assert found.difference < 1e-5


@given(arrays(np.float32, (4, 3), elements=st.floats(-100, 100, width=32)), st.integers(0, 3))
def test_a_difference_counts_by_the_numbers_of_its_row(logits: Any, row: int) -> None:
    other = logits.copy()
    other[row, 0] += 1
    expected = 1 / max(1, abs(logits[row]).max())
    assert difference_of(other, logits) == pytest.approx(expected, rel=1e-3)
