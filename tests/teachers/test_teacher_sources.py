"""The user's own teachers: each kind answers as itself."""

from __future__ import annotations

import os
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from own_teachers import (
    FACTORY,
    FOREST,
    OWN,
    answers,
    assert_answers,
    export,
    loaded,
    network,
    spec_of,
    taught,
    users_folder,
)
from torch import nn

from bdistil.data.standardise import TargetScale, standardised
from bdistil.datasets.catalogue import load_dataset
from bdistil.errors import (
    BdistilWarning,
    MissingDependencyError,
    TeacherError,
)
from bdistil.searching.search_teacher import teacher_message
from bdistil.spec import load_spec
from bdistil.teachers.answers import LEAST_PROBABILITY, centred
from bdistil.teachers.obtain import obtain_teacher
from bdistil.teachers.select import teacher_source
from bdistil.teachers.teacher_store import TeacherStore

pytestmark = pytest.mark.filterwarnings("ignore:the teacher's validation metric")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return users_folder(tmp_path, monkeypatch)


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("weights", ["weights.safetensors", "weights.pt", "checkpoint.pth"])
def test_code_and_weights_answer_about_raw_features(weights: str) -> None:
    torch.save({"model": network().state_dict(), "epoch": 3}, "checkpoint.pth")
    dataset, logits, card = taught(spec_of("code.py:network", weights=weights))
    assert_answers(logits, network(), dataset)
    assert (card.source, card.flops, card.parameters) == ("network", 2 * (20 + 15), 25 + 18)
    assert card.files_sha256 is not None
    assert sorted(os.listdir("teacher")) == ["config.json", "logits.safetensors"]


@pytest.mark.usefixtures("place")
def test_a_network_may_read_standardised_features() -> None:
    spec = spec_of("code.py:network", inputs="standardised", **OWN)
    dataset, logits, _ = taught(spec)
    expected = answers(network(), standardised(dataset, dataset.test))
    np.testing.assert_allclose(logits["test"], expected, atol=1e-5)


@pytest.mark.usefixtures("place")
def test_every_example_is_asked_once_in_batches() -> None:
    spec, told = spec_of("code.py:network", batch_size=25, **OWN), []
    obtain_teacher(
        TeacherStore(Path("teacher")),
        loaded(spec),
        spec,
        answered=lambda *told_: told.append(told_),
    )
    assert told == [(25, 54), (50, 54), (54, 54), (18, 18), (18, 18)]


def test_an_importable_module_gives_the_network(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(place)
    (place / "users_module.py").write_text(FACTORY)
    safetensors.torch.save_file(network(7).state_dict(), "seven.safetensors")
    spec = spec_of("users_module:network", options={"hidden": 7}, weights="seven.safetensors")
    dataset, logits, _ = taught(spec)
    assert_answers(logits, network(7), dataset)


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("counted", [True, False], ids=["counters", "no counters"])
def test_a_model_of_torchvision_gets_the_datas_classes(counted: bool) -> None:
    import torchvision

    name = "shufflenet_v2_x0_5"
    images = np.random.default_rng(1).uniform(0, 255, (30, 3, 32, 32)).astype(np.float32)
    np.savez("images.npz", x=images, y=np.arange(30) % 5)
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None, num_classes=5).eval()
    weights = model.state_dict()
    if not counted:  # as older files and some converters have it
        weights = {name: w for name, w in weights.items() if "num_batches" not in name}
    safetensors.torch.save_file(weights, "shuffle.safetensors")
    spec = spec_of(f"torchvision:{name}", "images.npz", weights="shuffle.safetensors")
    dataset, logits, card = taught(spec)
    assert_answers(logits, model, dataset)
    assert card.flops is not None
    assert card.flops > 1e6


@pytest.mark.usefixtures("place")
def test_timm_is_asked_for_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(
        MissingDependencyError, match=r"timm is not .* pip install 'bdistil\[timm\]"
    ):
        taught(spec_of("timm:resnet10t", **OWN))


@pytest.mark.usefixtures("place")
def test_a_model_of_timm_gets_the_datas_classes_and_channels() -> None:
    timm = pytest.importorskip("timm")
    images = np.random.default_rng(1).uniform(0, 255, (30, 1, 32, 32)).astype(np.float32)
    np.savez("images.npz", x=images, y=np.arange(30) % 5)
    model = timm.create_model("resnet10t", pretrained=False, num_classes=5, in_chans=1).eval()
    safetensors.torch.save_file(model.state_dict(), "timm.safetensors")
    spec = spec_of("timm:resnet10t", "images.npz", weights="timm.safetensors")
    dataset, logits, _ = taught(spec)
    assert_answers(logits, model, dataset)


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("dynamic", [True, False])
def test_an_exported_program_answers_whatever_its_batch(dynamic: bool) -> None:
    export("program.pt2", 7, dynamic)
    dataset, logits, card = taught(spec_of("program.pt2"))
    assert_answers(logits, network(), dataset)
    assert (card.source, card.flops, card.parameters) == ("exported", 2 * (20 + 15), 25 + 18)


def write_onnx(path: str, batch: int | None = None) -> nn.Linear:
    """One linear layer, and its softmax as a second output."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    make, layer = onnx.helper, nn.Linear(4, 3)
    weights = [
        onnx.numpy_helper.from_array(layer.weight.detach().numpy().T.copy(), "w"),
        onnx.numpy_helper.from_array(layer.bias.detach().numpy(), "b"),
    ]
    x = make.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [batch or "batch", 4])
    outputs = [
        make.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [batch or "batch", 3])
        for name in ("logits", "shares")
    ]
    nodes = [
        make.make_node("Gemm", ["x", "w", "b"], ["logits"]),
        make.make_node("Softmax", ["logits"], ["shares"], axis=1),
    ]
    graph = make.make_graph(nodes, "teacher", [x], outputs, weights)
    opset = [make.make_opsetid("", 18)]
    onnx.save(make.make_model(graph, opset_imports=opset, ir_version=9), path)
    return layer


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("batch", [None, 1, 7])
def test_an_onnx_graph_answers_whatever_its_batch(batch: int | None) -> None:
    layer = write_onnx("graph.onnx", batch)
    dataset, logits, card = taught(spec_of("graph.onnx", options={"output": "logits"}))
    assert_answers(logits, layer, dataset)
    assert (card.source, card.flops) == ("onnx", 2 * layer.weight.numel())
    assert 0 < card.seconds < 1


@pytest.mark.usefixtures("place")
def test_one_of_several_outputs_of_a_graph_must_be_named() -> None:
    layer = write_onnx("graph.onnx")
    with pytest.raises(TeacherError, match=r"has outputs logits, shares.*=\{output: shares\}"):
        taught(spec_of("graph.onnx"))
    spec = spec_of("graph.onnx", options={"output": "shares"}, outputs="probabilities")
    dataset, logits, _ = taught(spec)
    shares = torch.softmax(torch.as_tensor(answers(layer, dataset.test.x)), 1).numpy()
    expected = centred(np.log(shares.clip(min=LEAST_PROBABILITY)))
    np.testing.assert_allclose(logits["test"], expected, atol=1e-3)


@pytest.mark.usefixtures("place")
def test_an_estimator_is_fitted_here_and_alike_each_time() -> None:
    pytest.importorskip("sklearn")
    spec = spec_of(FOREST, options={"n_estimators": 5})
    dataset, logits, card = taught(spec)
    assert card.source == "estimator"
    assert card.flops is None
    assert 0 < card.seconds < 5
    assert (logits["train"].argmax(1) == dataset.train.y).mean() > 0.8
    spread = logits["train"].max() - logits["train"].min()
    assert spread <= 2 * -np.log(LEAST_PROBABILITY)
    again = teacher_source(dataset, spec).obtain().logits(dataset.train, None)
    np.testing.assert_array_equal(again, logits["train"])


@pytest.mark.usefixtures("place")
def test_only_what_is_trained_here_can_be_trained_without_a_part() -> None:
    spec = spec_of(FOREST, options={"n_estimators": 5})
    dataset = loaded(spec)
    source, all_rows = teacher_source(dataset, spec), np.arange(len(dataset.train))
    assert source.can_refit
    part = source.obtain(all_rows[dataset.train.y != 1]).logits(dataset.test, None)
    assert (part[:, 1] <= part.min(axis=1) + 1e-6).all()  # a class that it has never seen
    own = teacher_source(dataset, spec_of("code.py:network", **OWN))
    assert not own.can_refit
    with pytest.raises(TeacherError, match="comes trained, so it cannot be trained anew"):
        own.obtain(all_rows[:10])
    trained = teacher_source(dataset, spec_of("mlp", options={"widths": [4]}, epochs=1))
    some = [trained.obtain(rows).logits(dataset.test, None) for rows in (None, all_rows[:20])]
    assert trained.can_refit
    assert not np.array_equal(*some)


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("targets", [1, 2])
def test_regression_teachers_answer_in_the_units_of_the_data(targets: int) -> None:
    random = np.random.default_rng(2)
    x = random.normal(size=(90, 4)).astype(np.float32)
    y = (x[:, :targets] * 1000 + 500 + random.normal(size=(90, targets))).squeeze()
    np.savez("numbers.npz", x=x, y=y.astype(np.float32))
    spec = spec_of("sklearn.linear_model:Ridge", "numbers.npz", options={"alpha": 1e-3})
    dataset, logits, card = taught(spec)
    truth = TargetScale.of(dataset).standardise(dataset.test.y)
    np.testing.assert_allclose(logits["test"], truth, atol=0.05)
    assert card.validation_metric > 0.99


WRAPPED: dict[str, Any] = {
    "wrapped.th": lambda state: {f"module.{name}": state[name] for name in state},
    "wrapped.ckpt": lambda state: {
        "epoch": 3,
        "state_dict": {f"model._orig_mod.{n}": state[n] for n in state} | {"loss.a": torch.ones(1)},
    },
    "wrapped.pt": lambda state: {
        "n_averaged": torch.tensor(2),
        **{f"module.{name}": state[name] for name in state},
    },
}


@pytest.mark.parametrize("name", WRAPPED)
@pytest.mark.usefixtures("place")
def test_weights_are_found_under_the_prefixes_of_wrappers(name: str) -> None:
    torch.save(WRAPPED[name](network().state_dict()), name)
    with pytest.warns(BdistilWarning, match="without 'mod.*' before their names"):
        dataset, logits, _ = taught(spec_of("code.py:network", weights=name))
    assert_answers(logits, network(), dataset)


@pytest.mark.usefixtures("place")
def test_a_tensor_of_two_names_may_be_saved_once() -> None:
    built = runpy.run_path("code.py")["tied"]().eval()
    safetensors.torch.save_model(built, "tied.safetensors")
    assert len(safetensors.torch.load_file("tied.safetensors")) < len(built.state_dict())
    dataset, logits, _ = taught(spec_of("code.py:tied", weights="tied.safetensors"))
    assert_answers(logits, built, dataset)


@pytest.mark.usefixtures("place")
def test_a_pipeline_chooses_columns_by_name() -> None:
    random = np.random.default_rng(0)
    a, b = random.normal(size=(2, 200)).astype(np.float32)
    table = pd.DataFrame({"a": a, "noise": b, "city": np.where(b > 0, "Rom", "Ulm"), "y": a > 0})
    table.to_parquet("t.parquet")
    Path("pipeline.py").write_text(PIPELINE)
    spec = load_spec(
        {"data": {"path": "t.parquet", "label": "y"}, "teacher": {"model": "pipeline.py:chooses"}}
    )
    dataset, logits, _ = taught(spec)
    assert ((logits["test"][:, 1] > 0) == (dataset.test.y == 1)).mean() > 0.9


PIPELINE = """
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

def chooses():
    return make_pipeline(
        ColumnTransformer([("some", StandardScaler(), ["city=Rom", "a"])]), LogisticRegression()
    )
"""


def test_answers_beside_the_data_teach_unless_a_network_is_named(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    y = np.arange(60) % 3
    np.savez(tmp_path / "mine.npz", x=random.random((60, 4)), y=y, teacher=np.eye(3)[y])
    for model, kind, told in (
        ("auto", "columns", "Taking the teacher's answers"),
        ("mlp", "trained", "Training the teacher on 36 examples"),
    ):
        spec = load_spec(
            {"data": {"path": str(tmp_path / "mine.npz")}, "teacher": {"model": model}}
        )
        dataset = load_dataset(spec.data, spec.seed)
        assert teacher_source(dataset, spec).kind == kind
        assert teacher_message(spec, dataset).startswith(told)
