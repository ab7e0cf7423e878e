"""Teachers that cannot teach are refused in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import yaml
from own_teachers import (
    FOREST,
    OWN,
    export,
    loaded,
    network,
    users_folder,
)
from torch import nn

from bdistil.cluster.launch import launch_search
from bdistil.errors import (
    BdistilError,
    SpecError,
)
from bdistil.spec import load_spec
from bdistil.teachers.obtain import check_teacher

pytestmark = pytest.mark.filterwarnings("ignore:the teacher's validation metric")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return users_folder(tmp_path, monkeypatch)


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
    "weights of a part": (
        {"model": "code.py:network", "weights": "part.pt"},
        "part.pt does not fit teacher.model: it lacks 0.bias, and the model has no 9.bias; give",
    ),
    "weights twice": (
        {"model": "code.py:network", "weights": "twice.pt"},
        "more than once, under 'student.', 'ema.'; save one of them alone",
    ),
    "probabilities": (
        {"model": "code.py:softmax", "weights": "softmax.pt"},
        "every row is positive and sums to 1, as probabilities do; set teacher.outputs=prob",
    ),
    "weights gone": (
        {"model": "code.py:network", "weights": "gone.pt"},
        "teacher.weights: .*gone.pt does not exist",
    ),
    "weights of a type": (
        {"model": "code.py:network", "weights": "weights.bin"},
        "the file type must be one of .safetensors, .pt, .pth, .th, .ckpt",
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
    "epochs of a forest": (
        {"model": FOREST, "epochs": 5},
        "teacher.epochs is 5, which is for training networks.*an estimator; remove it",
    ),
    "rate of a forest": ({"model": FOREST, "lr": 0.5}, "teacher.lr is 0.5, .*; remove it"),
    "options of a program": (
        {"model": "model.pt2", "options": {"width": 3}},
        "teacher.options is {'width': 3}, but .*model.pt2 is a program, which takes none; remove",
    ),
    "probabilities of the zoo": (
        {"model": "mlp", "outputs": "probabilities"},
        "teacher.outputs is probabilities.*one of the zoo; remove it",
    ),
    "probabilities of whatever is trained": (
        {"outputs": "probabilities"},
        "teacher.outputs is probabilities.*one of the zoo; remove it",
    ),
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
    own = network().state_dict()
    torch.save(own, "softmax.pt")
    torch.save({name.replace("0.bias", "9.bias"): own[name] for name in own}, "part.pt")
    torch.save({f"{of}.{name}": own[name] for of in ("student", "ema") for name in own}, "twice.pt")
    if case == "options of a program":
        export("model.pt2")
    if case == "image network":
        import torchvision

        shuffle = torchvision.models.shufflenet_v2_x0_5(weights=None, num_classes=3)
        torch.save(shuffle.state_dict(), "shuffle.pt")
    spec = load_spec({"data": {"path": "data.npz"}, "teacher": teacher})
    with pytest.raises(BdistilError, match=sentence) as caught:
        launch_search(spec, place / "run")
    assert "\n" not in str(caught.value)
    assert not (place / "run").exists()


@pytest.mark.parametrize(
    ("teacher", "sentence"),
    [
        ({"columns": ["a"], "model": "code.py:network"}, "give either columns"),
        ({"columns": ["a"], "weights": "a.pt"}, "give either columns"),
        ({"columns": ["a"], "model": "mlp"}, "so model: mlp would have no effect"),
        ({"columns": ["a"], "options": {"widths": [3]}}, "so options would have no effect"),
        ({"weights": "a.pt"}, "weights go with model: torchvision:NAME"),
        ({"model": "a.onnx", "weights": "a.pt"}, "weights go with model: torchvision:NAME"),
        ({"inputs": "raw"}, "inputs are for your own model"),
        (
            {"columns": ["a"], "workers": 2},
            "workers is 2, which is for training teachers of the zoo",
        ),
        ({"model": "a.onnx", "precision": "bf16"}, "precision is bf16, which is for training"),
    ],
)
def test_fields_that_do_not_go_together(teacher: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SpecError, match=sentence):
        load_spec({"data": {"name": "cube"}, "teacher": teacher})


@pytest.mark.parametrize("teacher", [{"model": FOREST}, {"columns": ["a", "b", "c"]}, {}])
def test_what_a_run_stores_names_every_field_and_is_taken(
    place: Path, teacher: dict[str, Any]
) -> None:
    spec = load_spec({"data": {"path": "data.npz"}, "teacher": teacher})
    again = load_spec(yaml.safe_load(spec.to_yaml()))
    assert again.teacher.model_fields_set == set(type(again.teacher).model_fields)
    assert again.identity() == spec.identity()
    if "columns" not in teacher:  # which data.npz lacks
        check_teacher(loaded(again), again)
