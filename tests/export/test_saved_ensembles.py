"""An ensemble comes back from disk to the bit, or not at all."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from deployed import config_to_change
from small_ensembles import SHAPES, inputs, small_ensemble

from bdistil import Predictor
from bdistil.core.connections import connection_names
from bdistil.errors import CheckpointError, DataError
from bdistil.export import ensemble as ensemble_module
from bdistil.export.ensemble import Ensemble
from bdistil.runtime.hashes import HASHES_FILE, describe_files

CONNECTIONS = connection_names()
SKIPS = [(True, True, True), (False, False, False), (False, True, False)]
ENSEMBLES = [
    ((kind, 3, connection, a), (kind, 5, connection, b), (kind, 2, connection, c))
    for kind in SHAPES
    for connection in CONNECTIONS
    for a, b, c in SKIPS
]
MIXED = (
    ("mlp", 3, "none", True),
    ("mlp", 2, "dense", False),
    ("mlp", 4, "lstm", True),
    ("mlp", 2, "gru", False),
    ("mlp", 3, "residual", True),
    ("mlp", 1, "dense", True),
)


def label(students: Any) -> str:
    return f"{students[0][0]}-{students[0][2]}-{'-'.join(str(int(s[3])) for s in students)}"


@pytest.mark.parametrize("students", [*ENSEMBLES, MIXED], ids=label)
@torch.no_grad()
def test_a_saved_ensemble_answers_to_the_bit_as_before(students: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    ensemble = small_ensemble(*students)
    x = inputs(students[0][0])
    ensemble.save_pretrained(tmp_path)
    loaded = Ensemble.from_pretrained(tmp_path)
    assert loaded.config == ensemble.config
    assert not loaded.training
    for there, here in zip(ensemble.stages(x), loaded.stages(x), strict=True):
        assert torch.equal(there, here)
    for stage in range(1, len(students) + 1):
        assert torch.equal(ensemble(x, stage), loaded(x, stage))


@pytest.mark.parametrize("students", [*ENSEMBLES, MIXED], ids=label)
@torch.no_grad()
def test_running_straight_to_a_stage_gives_the_stages_answer(students: Any) -> None:
    torch.manual_seed(1)
    ensemble = small_ensemble(*students)
    x = inputs(students[0][0])
    for stage, logits in enumerate(ensemble.stages(x), start=1):
        torch.testing.assert_close(ensemble(x, stage), logits, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ensemble(x), logits, rtol=1e-5, atol=1e-5)


DENSE = (("mlp", 3, "dense", True), ("mlp", 4, "dense", True))


def test_predict_names_the_class_of_the_largest_logit() -> None:
    ensemble = small_ensemble(*DENSE)
    x = inputs("mlp", 50)
    for stage in (1, 2):
        indices = ensemble(x, stage).argmax(dim=1).tolist()
        assert ensemble.predict(x, stages=stage).tolist() == [f"class {i}" for i in indices]
    assert ensemble.predict(x.numpy().astype(np.float64)).tolist() == ensemble.predict(x).tolist()


def test_predict_gives_targets_for_regression() -> None:
    ensemble = small_ensemble(*DENSE, outputs=2, task="regression", class_names=None)
    x = inputs("mlp")
    np.testing.assert_array_equal(ensemble.predict(x), ensemble(x).detach().numpy())


def test_predict_takes_the_table_that_training_took() -> None:
    columns = {
        "features": [
            {"name": "a", "categories": None},
            {"name": "place", "categories": ["east", "north", "south", "west"]},
        ],
        "label": "y",
    }
    ensemble = small_ensemble(*DENSE, columns=columns)
    table = {"place": np.array(["west", "east"]), "other": np.zeros(2), "a": np.array([0.5, -2])}
    x = np.array([[0.5, 0, 0, 0, 1], [-2, 1, 0, 0, 0]])
    assert ensemble.predict(table).tolist() == ensemble.predict(x).tolist()
    with pytest.raises(DataError, match=r"lacks column 'a'"):
        ensemble.predict({"place": np.array(["west"])})


@pytest.mark.parametrize("shape", [(7, 4), (7, 1, 5), (7, 6), ()])
def test_inputs_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    ensemble = small_ensemble(*DENSE)
    for run in (ensemble, ensemble.predict, lambda x: next(ensemble.stages(x))):
        with pytest.raises(DataError, match=r"an example has shape .* 'small' takes \(5,\)"):
            run(torch.zeros(shape))
        with pytest.raises(DataError, match=r"the shape of one example, \(5,\); give a batch"):
            run(torch.zeros(5))


@pytest.mark.parametrize("stages", [0, -1, 3, 99])
def test_stages_that_are_not_there_are_refused(stages: int) -> None:
    ensemble = small_ensemble(*DENSE)
    with pytest.raises(DataError, match=rf"stages is {stages}; 'small' has stages 1 to 2"):
        ensemble.predict(inputs("mlp"), stages=stages)


@torch.no_grad()
def test_other_weights_or_precision_leave_no_stale_folded_heads() -> None:
    ensemble, other = small_ensemble(*DENSE), small_ensemble(*DENSE)
    x = inputs("mlp")
    ensemble(x, 1), ensemble(x, 2)
    ensemble.to(torch.float64)
    for stage, logits in enumerate(ensemble.stages(x.double()), start=1):
        assert ensemble(x, stage).dtype is torch.float64
        torch.testing.assert_close(ensemble(x.double(), stage), logits)
    ensemble.to(torch.float32).load_state_dict(other.state_dict())
    for stage in (1, 2):
        assert torch.equal(ensemble(x, stage), other(x, stage))


@torch.no_grad()
def test_folded_heads_made_in_inference_mode_can_be_exported() -> None:
    ensemble = small_ensemble(*DENSE)
    with torch.inference_mode():
        ensemble(inputs("mlp"))
    for weight in ensemble.prefix(len(ensemble)).parameters():
        weight.requires_grad_()  # refused of tensors of inference mode, and exporters do it


def test_weights_that_come_through_an_outer_module_count_too() -> None:
    ensemble, other = small_ensemble(*DENSE), small_ensemble(*DENSE)
    x = inputs("mlp")
    ensemble(x, 2)
    torch.nn.Sequential(ensemble).load_state_dict(torch.nn.Sequential(other).state_dict())
    assert torch.equal(ensemble(x, 2), other(x, 2))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_predict_and_come_back_as_float32(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    ensemble = small_ensemble(*DENSE)
    x = inputs("mlp")
    ensemble.to(dtype)
    assert len(ensemble.predict(x)) == len(x)
    ensemble.save_pretrained(tmp_path)
    loaded = Ensemble.from_pretrained(tmp_path)
    assert loaded(x).dtype is torch.float32
    torch.testing.assert_close(loaded(x), ensemble(x).float(), rtol=0.1, atol=0.1)


def saved(folder: Path) -> Path:
    small_ensemble(*DENSE).save_pretrained(folder)
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        Ensemble.from_pretrained(folder)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert len(sentence) < 500
    return sentence


def test_a_folder_that_holds_no_ensemble(tmp_path: Path) -> None:
    assert "is no saved ensemble (it has no config.json)" in refusal(tmp_path)
    assert "is no saved ensemble" in refusal(tmp_path / "nowhere")
    file = tmp_path / "file"
    file.write_text("x")
    refusal(file)


def test_missing_or_truncated_weights(tmp_path: Path) -> None:
    weights = saved(tmp_path) / "model.safetensors"
    content = weights.read_bytes()
    for size in (0, 1, 7, 8, 40, len(content) // 2, len(content) - 1):
        weights.write_bytes(content[:size])
        assert "model.safetensors is missing or does not fit config.json" in refusal(tmp_path)
    weights.write_bytes(b"\xff" * len(content))
    assert "model.safetensors" in refusal(tmp_path)
    weights.unlink()
    assert "model.safetensors" in refusal(tmp_path)
    weights.mkdir()
    assert "model.safetensors" in refusal(tmp_path)


def change(tensors: dict[str, torch.Tensor], how: str) -> None:
    name = "students.1.head.weight"
    if how == "missing tensor":
        del tensors[name]
    elif how == "extra tensor":
        tensors["students.2.head.weight"] = torch.zeros(3, 3)
    elif how == "other shape":
        tensors[name] = torch.zeros(3, 99)
    elif how == "no standardisation":
        del tensors["scale"]
    else:
        tensors["shift"], tensors["scale"] = torch.ones(2, 5), torch.ones(5)


@pytest.mark.parametrize(
    "how",
    [
        "missing tensor",
        "extra tensor",
        "other shape",
        "no standardisation",
        "standardisation of other inputs",
    ],
)
def test_weights_that_do_not_fit_the_configuration(tmp_path: Path, how: str) -> None:
    weights = saved(tmp_path) / "model.safetensors"
    tensors = safetensors.torch.load_file(weights)
    change(tensors, how)
    safetensors.torch.save_file(tensors, weights)
    assert "model.safetensors is missing or does not fit config.json" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"format": 2}, "config.json has format 2, this version reads 1; install a newer bdistil"),
        ({"format": None}, "config.json has format None"),
        ({"outputs": "many"}, "config.json is damaged"),
        ({"outputs": 0}, "config.json is damaged"),
        ({"outputs": 4}, "config.json is damaged"),  # three class names
        ({"students": []}, "config.json is damaged"),
        ({"class_names": ["a"]}, "config.json is damaged"),
        ({"input_shape": [6]}, "does not fit config.json"),
        ({"input_shape": [0]}, "config.json is damaged"),
    ],
)
def test_a_configuration_that_does_not_fit(
    tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    config = saved(tmp_path) / "config.json"
    config.write_text(json.dumps(config_to_change(tmp_path) | changes))
    assert sentence in refusal(tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [("kind", "resnet"), ("width", 7), ("width", -3), ("width", 10**12), ("connection", "star")],
)
def test_a_student_that_the_weights_do_not_hold(tmp_path: Path, field: str, value: Any) -> None:
    config = saved(tmp_path) / "config.json"
    content = config_to_change(tmp_path)
    content["students"][1][field] = value
    config.write_text(json.dumps(content))
    assert "config.json" in refusal(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"3", b"\xff\xfe\x00", b"{}"])
def test_a_configuration_that_is_no_json_object(tmp_path: Path, content: bytes) -> None:
    (saved(tmp_path) / "config.json").write_bytes(content)
    assert "config.json" in refusal(tmp_path)


class Bomb:
    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.victim,)


def test_a_pickle_in_place_of_the_weights_is_refused_and_not_executed(tmp_path: Path) -> None:
    victim = tmp_path / "executed"
    weights = saved(tmp_path / "model") / "model.safetensors"
    weights.write_bytes(pickle.dumps(Bomb(victim)))
    assert "model.safetensors" in refusal(tmp_path / "model")
    torch.save({"shift": Bomb(victim)}, weights)
    assert "model.safetensors" in refusal(tmp_path / "model")
    assert not victim.exists()
    pickle.loads(pickle.dumps(Bomb(victim)))  # the bomb works
    assert victim.exists()


@pytest.mark.parametrize("crash_at", ["model.safetensors", "README.md", "config.json"])
def test_a_save_that_fails_leaves_the_old_one_working(
    tmp_path: Path, crash_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    write = ensemble_module.write_atomic

    def crash(path: Path, content: bytes) -> None:
        if path.name == crash_at:
            raise KeyboardInterrupt
        write(path, content)

    monkeypatch.setattr(ensemble_module, "write_atomic", crash)
    with pytest.raises(KeyboardInterrupt):
        small_ensemble(MIXED[0]).save_pretrained(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        small_ensemble(MIXED[0]).save_pretrained(tmp_path / "new")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert len(Ensemble.from_pretrained(tmp_path)) == 2


@pytest.mark.parametrize("moved", [1, 2])
def test_a_crash_while_files_are_moved_is_seen(
    tmp_path: Path, moved: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path)
    move, done = Path.replace, []

    def crash(self: Path, target: Path) -> Path:
        if Path(target).parent == tmp_path:
            done.append(target)
            if len(done) > moved:
                raise KeyboardInterrupt
        return move(self, target)

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        small_ensemble(*DENSE).save_pretrained(tmp_path)
    monkeypatch.undo()
    weights_moved = any(path.name == "model.safetensors" for path in done[:moved])
    if weights_moved:
        assert "its hash is another one" in refusal(tmp_path)
    else:
        assert len(Ensemble.from_pretrained(tmp_path)) == 2
    saved(tmp_path)
    assert len(Ensemble.from_pretrained(tmp_path)) == 2


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    ensemble = small_ensemble(*DENSE)
    with torch.no_grad():
        ensemble.students[1].head.weight[0, 0] = value
    ensemble.save_pretrained(tmp_path)
    assert "students.1.head.weight holds values that are not finite" in refusal(tmp_path)


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan])
def test_scales_that_are_not_positive_are_refused(tmp_path: Path, value: float) -> None:
    ensemble = small_ensemble(*DENSE)
    ensemble.scale[2] = value
    ensemble.save_pretrained(tmp_path)
    assert "scale holds values that are not" in refusal(tmp_path)


@pytest.mark.parametrize("temperatures", [[1.0], [1.0, 0.0], [1.0, -2.0], [1.0, float("nan")]])
def test_temperatures_that_do_not_fit_are_refused(tmp_path: Path, temperatures: Any) -> None:
    config = saved(tmp_path) / "config.json"
    content = config_to_change(tmp_path) | {"calibration": {"temperatures": temperatures}}
    config.write_text(json.dumps(content))
    assert "temperatures" in refusal(tmp_path)
    with pytest.raises(CheckpointError, match="temperatures"):
        Predictor(tmp_path)


def test_weights_of_another_ensemble_are_refused(tmp_path: Path) -> None:
    torch.manual_seed(1)
    saved(tmp_path / "one")
    torch.manual_seed(2)
    other = saved(tmp_path / "two") / "model.safetensors"
    other.replace(tmp_path / "one" / "model.safetensors")
    assert "its hash is another one" in refusal(tmp_path / "one")


def test_graphs_of_other_weights_do_not_stay_beside_new_ones(tmp_path: Path) -> None:
    ensemble = small_ensemble(*DENSE)
    ensemble.save_pretrained(tmp_path)
    (tmp_path / "onnx").mkdir()
    graph, note = tmp_path / "onnx" / "prefix_1.onnx", tmp_path / "onnx" / "note.txt"
    graph.write_bytes(b"")
    note.write_text("mine")
    ensemble.save_pretrained(tmp_path)
    assert graph.exists()
    small_ensemble(*DENSE).save_pretrained(tmp_path)
    assert not graph.exists()
    assert note.exists()


@pytest.mark.parametrize("folder", ["web", "c", "litert", "teacher"])
def test_what_hashes_name_goes_with_its_weights_and_nothing_else(
    folder: str, tmp_path: Path
) -> None:
    ensemble = small_ensemble(*DENSE)
    ensemble.save_pretrained(tmp_path)
    place = tmp_path / folder
    place.mkdir()
    for name in ("index.html", "ensemble.h", "config.json"):
        (place / name).write_text("of these weights")
    (place / HASHES_FILE).write_bytes(describe_files(place, ensemble.weights_hash()))
    (place / "mine.html").write_text("of the user's own")
    ensemble.save_pretrained(tmp_path)
    assert len(list(place.iterdir())) == 5
    small_ensemble(*DENSE).save_pretrained(tmp_path)
    assert [path.name for path in place.iterdir()] == ["mine.html"]


def test_saving_over_a_file_is_one_sentence(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("precious")
    with pytest.raises(CheckpointError, match=r"file cannot be written"):
        small_ensemble(*DENSE).save_pretrained(target)
    assert target.read_text() == "precious"


def test_saving_leaves_exactly_three_files(tmp_path: Path) -> None:
    names = sorted(path.name for path in saved(tmp_path).iterdir())
    assert names == ["README.md", "config.json", "model.safetensors"]


@pytest.mark.parametrize("name", ["README.md", "config.json"])
def test_files_of_others_are_not_written_over(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("my own, about bdistil")
    with pytest.raises(CheckpointError, match=f"{name} is there already and not of a saved"):
        small_ensemble(MIXED[0]).save_pretrained(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_an_ensemble_may_replace_another(tmp_path: Path) -> None:
    small_ensemble(MIXED[0]).save_pretrained(tmp_path)
    small_ensemble(*MIXED).save_pretrained(tmp_path)
    assert len(Ensemble.from_pretrained(tmp_path)) == len(MIXED)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_examples_that_are_no_numbers_get_no_answer(value: float) -> None:
    with pytest.raises(DataError, match=r"x has 5 .* values, the first in row 0"):
        small_ensemble(MIXED[0]).predict(np.full((1, 5), value))


@pytest.mark.parametrize(
    ("class_type", "names", "labels"),
    [
        ("integer", ("-1", "0", "7"), [-1, 0, 7]),
        ("boolean", ("False", "True"), [False, True]),
        ("text", ("0", "1", "2"), ["0", "1", "2"]),
    ],
)
def test_answers_are_labels_as_the_user_has_them(
    class_type: str, names: tuple[str, ...], labels: list[object], tmp_path: Path
) -> None:
    changes = {"outputs": len(names), "class_names": names, "class_type": class_type}
    ensemble = small_ensemble(("mlp", 3, "none", True), **changes)
    ensemble.save_pretrained(tmp_path)
    predictor = Predictor(tmp_path, backend="torch")
    x = inputs("mlp", 200)
    expected = np.array(labels)[ensemble(x).argmax(1).numpy()]
    for answers in (predictor.predict(x.numpy()), Ensemble.from_pretrained(tmp_path).predict(x)):
        np.testing.assert_array_equal(answers, expected)
        assert answers.dtype == expected.dtype


def test_names_that_are_no_labels_of_their_type_are_refused(tmp_path: Path) -> None:
    small_ensemble(("mlp", 3, "none", True)).save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    content = config_to_change(tmp_path) | {"class_type": "integer"}
    config.write_text(json.dumps(content))
    for load in (Ensemble.from_pretrained, Predictor):
        with pytest.raises(CheckpointError, match="invalid literal"):
            load(tmp_path)
