"""Early exit inside one graph answers as going from stage to stage does, where it can."""

from __future__ import annotations

import copy
import pickle
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_ensembles
import torch
from deployed import deploy, examples
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from bdistil import Predictor
from bdistil.export.nested_exits import DEEPEST, can_nest, write_exit_graph
from bdistil.export.onnx_export import export_onnx
from bdistil.export.onnx_quantise import quantise_onnx
from bdistil.runtime.clock import StageTimes
from bdistil.runtime.exits import SCORES, ExitPolicy, OperatingPoint
from bdistil.runtime.manifest import Manifest
from bdistil.runtime.onnx_file import fault_of
from bdistil.runtime.onnx_runner import EXITS_FILE, stage_file
from bdistil.zoo import registry

pytest.importorskip("onnxruntime")

ENSEMBLES: dict[str, list[tuple[str, int, Any, bool]]] = {
    "mlp": [("mlp", 3, "none", True), ("mlp", 4, "lstm", True), ("mlp", 2, "dense", False)],
    "cnn": [("cnn", 2, "dense", True)] * 2,
    "gru": [("gru", 2, "gru", True), ("gru", 2, "residual", True)],
    "cnn1d": [("cnn1d", 1, "dense", True), ("lstm", 2, "none", False)],
}


@pytest.fixture(scope="module", params=ENSEMBLES)
def exported(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    ensemble = deploy(folder, *ENSEMBLES[request.param])
    export_onnx(ensemble, folder / "onnx", examples(request.param))
    return request.param, folder


def walking(folder: Path, backend: str = "onnx") -> Predictor:
    """The same answers from stage to stage."""
    predictor = Predictor(folder, backend=backend)
    predictor.exit_graph = None
    return predictor


def test_it_leaves_where_going_from_stage_to_stage_leaves(exported: tuple[str, Path]) -> None:
    kind, folder = exported
    inside, outside, left = Predictor(folder), walking(folder), set()
    assert inside.exit_graph is not None
    for score in ("confidence", "margin"):
        seen = [SCORES[score]([each.probabilities]) for each in outside.stages(examples(kind, 20))]
        for threshold in np.quantile(np.concatenate(seen[:-1]), (0.2, 0.5, 0.8)):
            policy = ExitPolicy(score, float(threshold) + 1e-6)  # not on the edge
            for row in examples(kind, 20):
                mine, other = (p.answer(row[None], exit=policy) for p in (inside, outside))
                np.testing.assert_array_equal(mine.stages, other.stages)
                np.testing.assert_allclose(mine.probabilities, other.probabilities, atol=1e-5)
                left |= set(mine.stages)
    assert left == set(range(1, len(inside) + 1))


@given(threshold=st.floats(0, 1), score=st.sampled_from(["confidence", "margin"]))
def test_any_threshold_of_it_is_a_promise(
    exported: tuple[str, Path], threshold: float, score: str
) -> None:
    kind, folder = exported
    predictor = PREDICTORS.setdefault(folder, Predictor(folder))
    assert predictor.exit_graph is not None
    row = examples(kind, 1, seed=3)
    logits, stage = predictor.exit_graph.until_sure(row, ExitPolicy(score, threshold))
    assert 1 <= stage <= len(predictor)
    for number, answer in enumerate(predictor.stages(row), start=1):
        sure = float(SCORES[score]([answer.probabilities])[0])
        if number == stage:
            np.testing.assert_allclose(logits, predictor.runner.straight(row, stage), atol=1e-4)
            assert number == len(predictor) or sure >= threshold - 1e-5
            break
        assert sure < threshold + 1e-5


PREDICTORS: dict[Path, Predictor] = {}


def test_a_threshold_beyond_float32_is_one_that_nobody_reaches(
    exported: tuple[str, Path],
) -> None:
    predictor, x = Predictor(exported[1]), examples(exported[0], 1)
    assert predictor.exit_graph is not None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for threshold, stage in ((1e39, len(predictor)), (-1e39, 1)):
            answer = predictor.answer(x, exit=ExitPolicy("confidence", threshold))
            assert answer.stages.tolist() == [stage]


def test_other_scores_and_batches_go_from_stage_to_stage(exported: tuple[str, Path]) -> None:
    kind, folder = exported
    predictor, outside, x = Predictor(folder), walking(folder), examples(kind, 6)
    assert predictor.exit_graph is not None
    predictor.exit_graph = replace(predictor.exit_graph, call=pytest.fail)
    for policy in (ExitPolicy("patience", 1.0), ExitPolicy("stability", -0.1)):
        mine, other = (p.answer(x[:1], exit=policy) for p in (predictor, outside))
        np.testing.assert_array_equal(mine.stages, other.stages)
    mine, other = (p.answer(x, exit=ExitPolicy("margin", 0.2)) for p in (predictor, outside))
    np.testing.assert_array_equal(mine.stages, other.stages)


def test_used_ones_are_copied(exported: tuple[str, Path]) -> None:
    kind, folder = exported
    predictor, row = Predictor(folder), examples(kind, 1)
    policy = ExitPolicy("margin", 0.3)
    expected = predictor.answer(row, exit=policy)
    for other in (copy.deepcopy(predictor), pickle.loads(pickle.dumps(predictor))):
        np.testing.assert_array_equal(other.answer(row, exit=policy).values, expected.values)


def test_graphs_in_8_bits_have_their_own(exported: tuple[str, Path]) -> None:
    kind, folder = exported
    if kind in ("gru", "cnn1d"):
        pytest.skip("the same for all")
    quantise_onnx(folder, examples(kind))
    inside, outside = Predictor(folder, backend="int8"), walking(folder, "int8")
    assert inside.exit_graph is not None
    for row in examples(kind, 10):
        for policy in (ExitPolicy("confidence", 0.37), ExitPolicy("margin", 0.052)):
            mine, other = (p.answer(row[None], exit=policy) for p in (inside, outside))
            np.testing.assert_array_equal(mine.stages, other.stages)
            np.testing.assert_allclose(mine.probabilities, other.probabilities, atol=1e-4)


def test_what_was_exported_without_goes_from_stage_to_stage(tmp_path: Path) -> None:
    ensemble = deploy(tmp_path, *ENSEMBLES["mlp"])
    export_onnx(ensemble, tmp_path / "onnx", examples("mlp"))
    policy, x = ExitPolicy("confidence", 0.4), examples("mlp", 1)
    expected = Predictor(tmp_path).answer(x, exit=policy)
    (tmp_path / "onnx" / EXITS_FILE).unlink()
    older = Predictor(tmp_path)
    assert older.exit_graph is None
    assert older.times().inside == ()
    np.testing.assert_array_equal(older.answer(x, exit=policy).stages, expected.stages)


@pytest.mark.parametrize("task", ["regression", "multilabel", "one stage", "products", "torch"])
def test_where_there_is_none(task: str, tmp_path: Path) -> None:
    tasks = {"task": task} if task in ("regression", "multilabel") else {}
    students = ENSEMBLES["mlp"][: 1 if task == "one stage" else 3]
    ensemble = deploy(tmp_path, *students, **tasks)
    export_onnx(ensemble, tmp_path / "onnx", examples("mlp"))
    backend = "torch" if task == "torch" else "onnx"
    predictor = Predictor(tmp_path, backend=backend, product=task == "products")
    assert predictor.exit_graph is None
    score = "stability" if task == "regression" else "confidence"
    answer = predictor.answer(examples("mlp", 1), exit=ExitPolicy(score, -np.inf))
    assert answer.stages[0] <= 2


def test_more_stages_than_a_file_can_nest_have_none(tmp_path: Path) -> None:
    """Nobody could read it; the export failed at 33 stages."""
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    make, number = onnx.helper, onnx.TensorProto.FLOAT
    told = [make.make_tensor_value_info(n, number, (1, 3)) for n in ("x", "logits", "next_logits")]
    node = make.make_node("Add", ["logits", "x"], ["next_logits"])
    model = make.make_model(
        make.make_graph([node], "stage", told[:2], told[2:]),
        opset_imports=[make.make_opsetid("", 18)],
        ir_version=10,
    )
    for stage in range(1, DEEPEST + 1):
        onnx.save(model, tmp_path / stage_file(stage))
    students = ({},) * DEEPEST
    manifest = Manifest(
        name="deep", task="classification", input_shape=(3,), outputs=3, students=students
    )
    assert can_nest(manifest)
    write_exit_graph(tmp_path, manifest)
    content = (tmp_path / EXITS_FILE).read_bytes()
    assert fault_of(content) == ""
    runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    assert not can_nest(replace(manifest, students=({},) * 33))


def test_points_cost_what_their_score_costs() -> None:
    def point(score: str) -> OperatingPoint:
        return OperatingPoint(score, 0.5, 0.9, 0.0, 1.5, leaving=(0.5, 0.5))

    times = StageTimes((4.0, 8.0), 5.0, inside=(2.0, 6.0))
    assert times.cost(point("confidence")) == times.cost(point("margin")) == 4.0
    assert times.cost(point("patience")) == 6.0
    assert StageTimes((4.0, 8.0), 5.0).cost(point("margin")) == 6.0


def test_it_is_timed_at_each_stage(exported: tuple[str, Path]) -> None:
    _, folder = exported
    times = Predictor(folder).times()
    assert len(times.inside) == len(times.steps)
    assert times.inside[0] > 0


def test_a_warm_one_has_its_graph_open(exported: tuple[str, Path]) -> None:
    kind, folder = exported
    predictor, row = Predictor(folder), examples(kind, 1)
    predictor.answer(row, deadline="1s")
    assert EXITS_FILE not in predictor.runner._graphs  # type: ignore[attr-defined]
    predictor.warm_up()
    assert EXITS_FILE in predictor.runner._graphs  # type: ignore[attr-defined]


class Branching(nn.Module):
    """A body with a branch of its own, as `torch.cond` gives it."""

    def __init__(self, input_shape: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.features = width
        self.layer = nn.Linear(input_shape[0], width)

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.layer(x)
        branched: Tensor = torch.cond(h.sum() > 0, torch.relu, torch.tanh, (h,))
        return branched


def test_stages_with_branches_of_their_own_have_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_STUDENTS", {**registry._STUDENTS})
    register = registry.register_student("branching", domains=("tabular",), lr=0.01, growth=1.5)
    register(Branching)
    monkeypatch.setitem(small_ensembles.SHAPES, "branching", (5,))
    ensemble = deploy(tmp_path, ("branching", 3, "none", True), ("branching", 4, "none", True))
    export_onnx(ensemble, tmp_path / "onnx", examples("branching"))
    predictor = Predictor(tmp_path)
    assert predictor.exit_graph is None
    policy = ExitPolicy("confidence", -np.inf)
    assert predictor.answer(examples("branching", 1), exit=policy).stages[0] == 1
