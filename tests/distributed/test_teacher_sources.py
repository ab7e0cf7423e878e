"""The user's own teachers: each kind answers as itself, and what could run code is never opened."""

from __future__ import annotations

import io
import os
import pickle
import re
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn
from torch.export.pt2_archive import PT2ArchiveWriter

from bdistil.core.ensemble import ProgressiveEnsemble
from bdistil.core.student import StudentConfig
from bdistil.data.dataset import Dataset
from bdistil.data.registry import load_dataset
from bdistil.deploy.checkpoint import build_student
from bdistil.distributed.outcome import evaluate_on_test
from bdistil.distributed.problem import TargetScale, standardised
from bdistil.distributed.resolve import resolve
from bdistil.distributed.run import run_search
from bdistil.distributed.run_directory import RunDirectory
from bdistil.distributed.teacher import check_teacher, obtain_teacher
from bdistil.distributed.teacher_store import SPLITS, Logits, TeacherCard, TeacherStore
from bdistil.distributed.teachers.answers import LEAST_PROBABILITY, centred
from bdistil.distributed.teachers.select import teacher_source
from bdistil.errors import (
    BdistilError,
    BdistilWarning,
    CheckpointError,
    MissingDependencyError,
    SpecError,
    TeacherError,
)
from bdistil.spec import Spec, load_spec

pytestmark = pytest.mark.filterwarnings("ignore:the teacher's validation metric")

FACTORY = """
import neighbour
from torch import nn

def network(hidden=5, classes=neighbour.CLASSES):
    return nn.Sequential(nn.Linear(4, hidden), nn.Tanh(), nn.Linear(hidden, classes))

def number():
    return 3

class Pair(nn.Linear):
    def forward(self, x):
        return super().forward(x), x

def pair():
    return Pair(4, 3)

def broken():
    raise ValueError("no such luck")
"""


def network(hidden: int = 5, classes: int = 3) -> nn.Module:
    torch.manual_seed(hidden)
    return nn.Sequential(nn.Linear(4, hidden), nn.Tanh(), nn.Linear(hidden, classes)).eval()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder, with data, code and weights."""
    folder = tmp_path / "mine"
    folder.mkdir()
    monkeypatch.chdir(folder)
    random = np.random.default_rng(0)
    x = (random.normal(size=(90, 4)) * [1, 10, 100, 1] + 5).astype(np.float32)
    np.savez("data.npz", x=x, y=np.arange(90) % 3)
    Path("code.py").write_text(FACTORY)
    Path("neighbour.py").write_text("CLASSES = 3")
    safetensors.torch.save_file(network().state_dict(), "weights.safetensors")
    torch.save(network().state_dict(), "weights.pt")
    return folder


def spec_of(model: str, data: str = "data.npz", **teacher: Any) -> Spec:
    return load_spec({"data": {"path": data}, "teacher": {"model": model} | teacher})


def loaded(spec: Spec) -> Dataset:
    return load_dataset(spec.data, spec.seed, spec.teacher.columns)


def taught(spec: Spec) -> tuple[Dataset, Logits, TeacherCard]:
    """Checked and asked, as a search does."""
    dataset, store = loaded(spec), TeacherStore(Path("teacher"))
    check_teacher(dataset, spec)
    return dataset, obtain_teacher(store, dataset, spec), store.card()


def answers(model: nn.Module, x: Any) -> Any:
    with torch.no_grad():
        return centred(model(torch.as_tensor(np.asarray(x, np.float32))).numpy())


def assert_answers(logits: Logits, model: nn.Module, dataset: Dataset) -> None:
    for name in SPLITS:
        expected = answers(model, getattr(dataset, name).x)
        np.testing.assert_allclose(logits[name], expected, atol=1e-4)


OWN = {"weights": "weights.safetensors"}


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
def test_a_model_of_torchvision_gets_the_datas_classes() -> None:
    import torchvision

    name = "shufflenet_v2_x0_5"
    images = np.random.default_rng(1).uniform(0, 255, (30, 3, 32, 32)).astype(np.float32)
    np.savez("images.npz", x=images, y=np.arange(30) % 5)
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None, num_classes=5).eval()
    safetensors.torch.save_file(model.state_dict(), "shuffle.safetensors")
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


def export(path: str, batch: int = 3, dynamic: bool = True) -> None:
    shapes = ({0: torch.export.Dim("batch")},) if dynamic else None
    example = (torch.randn(batch, 4),)
    torch.export.save(torch.export.export(network(), example, dynamic_shapes=shapes), path)


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
    assert (card.source, card.flops) == ("onnx", None)


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


FOREST = "sklearn.ensemble:RandomForestClassifier"


@pytest.mark.usefixtures("place")
def test_an_estimator_is_fitted_here_and_alike_each_time() -> None:
    pytest.importorskip("sklearn")
    spec = spec_of(FOREST, options={"n_estimators": 5})
    dataset, logits, card = taught(spec)
    assert card.source == "estimator"
    assert card.flops is None
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


class Bomb:
    """What a pickle of unknown origin may hold: it makes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def rewritten(source: str, target: str, member: str, content: bytes) -> None:
    """An exported program with one member replaced or added."""
    reader = torch._C.PyTorchFileReader(source)
    with PT2ArchiveWriter(target) as writer:
        for name in {*reader.get_all_records(), member}:
            if "/" in name and not name.startswith(".data"):
                writer.write_bytes(name, content if name == member else reader.get_record(name))


def with_bombs(bomb: Path) -> dict[str, bytes]:
    """Members of an exported program that make `bomb` when torch.export.load reads them."""
    reader = torch._C.PyTorchFileReader("program.pt2")
    graph = reader.get_record("models/model.json").decode()
    buffer = io.BytesIO()
    torch.save((Bomb(bomb),), buffer)
    evil = f"__import__('os').mkdir('{bomb}')"
    shape = re.search(r"Symbol\('s\d+'[^)]*\)", graph)
    assert shape is not None
    target = "torch.ops.aten.tanh.default"
    config = "data/weights/model_weights_config.json"
    weights = reader.get_record(config).decode()
    return {
        "sample": buffer.getvalue(),
        "shape": graph.replace(shape[0], evil).encode(),
        "operator": graph.replace(target, "torch.os.mkdir").encode(),
        "file operator": graph.replace(target, "torch.ops.aten.save.default").encode(),
        "name": graph.replace('"p_0_weight"', f'"p=print({bomb.name!r})"').encode(),
        "pickle": weights.replace('"use_pickle": false', '"use_pickle": true').encode(),
        "library": b"\x7fELF",
    }


MEMBERS = {
    "sample": "data/sample_inputs/model.pt",
    "pickle": "data/weights/model_weights_config.json",
    "library": "data/aotinductor/model/code.so",
}


@pytest.mark.parametrize(
    "case", ["sample", "shape", "operator", "file operator", "name", "pickle", "library"]
)
def test_a_program_that_could_run_code_is_not_opened(place: Path, case: str) -> None:
    export("program.pt2")
    content = with_bombs(place / "bomb")[case]
    rewritten("program.pt2", "evil.pt2", MEMBERS.get(case, "models/model.json"), content)
    spec = spec_of("evil.pt2")
    with pytest.raises(TeacherError, match=r"evil.pt2 is not opened, since reading it could run"):
        check_teacher(loaded(spec), spec)
    assert not (place / "bomb").exists()


@pytest.mark.parametrize("case", ["sample", "shape"])
def test_those_programs_would_have_run_code(place: Path, case: str) -> None:
    """The check is needed: torch itself runs what they hold."""
    export("program.pt2")
    content = with_bombs(place / "bomb")[case]
    rewritten("program.pt2", "evil.pt2", MEMBERS.get(case, "models/model.json"), content)
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever comes after the bomb
        torch.export.load("evil.pt2")
    assert (place / "bomb").exists()


@pytest.mark.usefixtures("place")
def test_a_program_copied_without_a_bomb_is_read() -> None:
    export("program.pt2")
    graph = torch._C.PyTorchFileReader("program.pt2").get_record("models/model.json")
    rewritten("program.pt2", "copy.pt2", "models/model.json", graph)
    dataset, logits, _ = taught(spec_of("copy.pt2"))
    assert_answers(logits, network(), dataset)


@pytest.mark.parametrize("name", ["model.pkl", "model.joblib", "model.pt", "model.ckpt"])
def test_a_pickled_model_is_not_opened(place: Path, name: str) -> None:
    bomb = place / "bomb"
    (place / name).write_bytes(pickle.dumps(Bomb(bomb)))
    spec = spec_of(name)
    with pytest.raises(TeacherError, match=r"can hold pickles, .* so it is not opened"):
        run_search(spec, place / "run")
    assert not bomb.exists()
    pickle.loads((place / name).read_bytes())
    assert bomb.exists()  # it would have


@pytest.mark.parametrize("how", ["pickled", "zipped", "module"])
def test_weights_that_are_more_than_weights_are_not_opened(place: Path, how: str) -> None:
    bomb = place / "bomb"
    if how == "pickled":
        (place / "evil.pt").write_bytes(pickle.dumps(Bomb(bomb)))
    else:
        torch.save(Bomb(bomb) if how == "zipped" else network(), "evil.pt")
    spec = spec_of("code.py:network", weights="evil.pt")
    with pytest.raises(TeacherError, match=r"evil.pt holds more than weights, .* not opened"):
        run_search(spec, place / "run")
    assert not bomb.exists()
    assert not (place / "run").exists()


UNFIT: dict[str, tuple[dict[str, Any], str]] = {
    "no weights": ({"model": "code.py:network"}, "has learnt nothing yet; give its weights as"),
    "no file": ({"model": "nowhere.py:network", **OWN}, "nowhere.py does not exist"),
    "no module": ({"model": "no.where:network", **OWN}, "module 'no.where' cannot be imported"),
    "no factory": ({"model": "code.py:net", **OWN}, "has no callable 'net'"),
    "no network": ({"model": "code.py:number", **OWN}, "which gives int; make it give a torch.nn"),
    "raises": ({"model": "code.py:broken", **OWN}, "cannot be built .*: no such luck"),
    "option": (
        {"model": "code.py:network", "options": {"depth": 3}, **OWN},
        "cannot be built with teacher.options.*unexpected keyword argument 'depth'",
    ),
    "other weights": (
        {"model": "code.py:network", "options": {"hidden": 6}, **OWN},
        "weights.safetensors does not fit teacher.model: size mismatch for 0.weight",
    ),
    "weights gone": (
        {"model": "code.py:network", "weights": "gone.pt"},
        "teacher.weights: .*gone.pt does not exist",
    ),
    "weights of a type": (
        {"model": "code.py:network", "weights": "weights.bin"},
        "the file type must be one of .safetensors, .pt, .pth",
    ),
    "damaged weights": (
        {"model": "code.py:network", "weights": "damaged.safetensors"},
        "damaged.safetensors is damaged",
    ),
    "too wide": (
        {"model": "code.py:network", "options": {"classes": 4}, "weights": "wide.safetensors"},
        r"code.py:network gives 4 outputs, but data needs 3 classes \(0, 1, 2\)",
    ),
    "NaN": ({"model": "code.py:network", "weights": "nan.safetensors"}, "with NaN or infinity"),
    "two outputs": ({"model": "code.py:pair", "weights": "pair.pt"}, "answers with tuple"),
    "image network": (
        {"model": "torchvision:shufflenet_v2_x0_5", "weights": "shuffle.pt"},
        r"fails on examples of shape \(4,\)",
    ),
    "torchvision": ({"model": "torchvision:resnet81", **OWN}, "did you mean 'resnet18'"),
    "no program": ({"model": "damaged.pt2"}, "is no torch.export program"),
    "no graph": ({"model": "damaged.onnx"}, "is no ONNX graph"),
    "no such program": ({"model": "gone.onnx"}, "gone.onnx does not exist"),
    "type": ({"model": "model.h5"}, "the file type must be one of .onnx, .pt2"),
    "regressor": ({"model": "sklearn.linear_model:Ridge"}, "has no predict_proba"),
    "fitted weights": ({"model": FOREST, **OWN}, "is fitted here; remove teacher.weights"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_a_teacher_that_cannot_teach_is_refused_before_anything_is_written(
    place: Path, case: str
) -> None:
    teacher, sentence = UNFIT[case]
    for name in ("damaged.safetensors", "damaged.pt2", "damaged.onnx"):
        (place / name).write_bytes(b"damaged")
    safetensors.torch.save_file(network(classes=4).state_dict(), "wide.safetensors")
    nan = {name: values * torch.nan for name, values in network().state_dict().items()}
    safetensors.torch.save_file(nan, "nan.safetensors")
    torch.save(nn.Linear(4, 3).state_dict(), "pair.pt")
    if case == "image network":
        import torchvision

        shuffle = torchvision.models.shufflenet_v2_x0_5(weights=None, num_classes=3)
        torch.save(shuffle.state_dict(), "shuffle.pt")
    spec = load_spec({"data": {"path": "data.npz"}, "teacher": teacher})
    with pytest.raises(BdistilError, match=sentence) as caught:
        run_search(spec, place / "run")
    assert "\n" not in str(caught.value)
    assert not (place / "run").exists()


@pytest.mark.parametrize(
    ("teacher", "sentence"),
    [
        ({"columns": ["a"], "model": "code.py:network"}, "give either columns"),
        ({"columns": ["a"], "weights": "a.pt"}, "give either columns"),
        ({"weights": "a.pt"}, "weights go with model: torchvision:NAME"),
        ({"model": "a.onnx", "weights": "a.pt"}, "weights go with model: torchvision:NAME"),
        ({"inputs": "raw"}, "inputs are for your own model"),
    ],
)
def test_fields_that_do_not_go_together(teacher: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SpecError, match=sentence):
        load_spec({"data": {"name": "cube"}, "teacher": teacher})


@pytest.fixture
def search(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A search up to the teacher, without Ray."""
    monkeypatch.setattr("bdistil.distributed.run.cluster", lambda *_: nullcontext())
    monkeypatch.setattr("bdistil.distributed.run.play", lambda *_: None)
    return run_search


def test_a_search_goes_on_without_the_files_and_refuses_changed_ones(
    place: Path, search: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of("code.py:network", **OWN)
    search(spec, place / "run")
    stored = (place / "run" / "teacher" / "logits.safetensors").read_bytes()
    (place / "elsewhere").mkdir()
    monkeypatch.chdir(place / "elsewhere")  # the run knows where the files lie
    resumed = RunDirectory(place / "run").spec()
    search(resumed, place / "run")
    weights = place / "weights.safetensors"
    safetensors.torch.save_file({k: -v for k, v in network().state_dict().items()}, weights)
    with pytest.raises(CheckpointError, match=r"weights.safetensors has changed since its answers"):
        search(resumed, place / "run")
    weights.unlink()
    (place / "code.py").unlink()
    search(resumed, place / "run")
    assert (place / "run" / "teacher" / "logits.safetensors").read_bytes() == stored


def test_a_moved_weights_file_is_the_same_search(place: Path, search: Any) -> None:
    search(spec_of("code.py:network", **OWN), place / "run")
    shutil.move("weights.safetensors", "moved.safetensors")
    moved = spec_of("code.py:network", weights="moved.safetensors")
    search(moved, place / "run")
    other = spec_of("code.py:pair", weights="moved.safetensors")
    for spec, same in ((moved, True), (other, False)):
        resolved = resolve(spec, loaded(spec))
        assert RunDirectory(place / "run").has_teacher_of(resolved) == same


def test_the_figures_show_what_is_known_of_the_teacher(place: Path, search: Any) -> None:
    run = search(spec_of("code.py:network", **OWN), place / "run")
    dataset = loaded(run.spec())
    ensemble = ProgressiveEnsemble(3)
    ensemble.append(build_student(StudentConfig("mlp", 2, "dense", True), (4,), 3, []))
    figures = evaluate_on_test(run, dataset, ensemble)
    assert figures.teacher.flops == 70
    assert figures.stages[0].latency_ratio is not None
    (place / "code.py").unlink()
    with pytest.warns(BdistilWarning, match=r"the teacher's time is left out: .*code.py does not"):
        figures = evaluate_on_test(run, dataset, ensemble)
    assert figures.teacher.flops == 70
    assert figures.stages[0].latency_ratio is None
