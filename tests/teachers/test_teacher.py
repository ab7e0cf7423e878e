"""The teacher of a run: made once, kept, and refused where it does not fit."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bdistil.cluster.launch import launch_search
from bdistil.core.examples import metric
from bdistil.core.tensors import as_tensor
from bdistil.data.dataset import Dataset
from bdistil.data.standardise import standardised
from bdistil.datasets.catalogue import load_dataset
from bdistil.errors import BdistilError, BdistilWarning, CheckpointError, SpecError, TeacherError
from bdistil.spec import Spec, TeacherSpec, load_spec
from bdistil.teachers import obtain
from bdistil.teachers.answers import (
    LEAST_PROBABILITY,
    as_logits,
    centred,
)
from bdistil.teachers.guess import best_guess
from bdistil.teachers.obtain import check_teacher, obtain_teacher
from bdistil.teachers.teacher_store import SPLITS, TeacherStore
from bdistil.version import version_and_commit

TRAINED: dict[str, Any] = {
    "data": {"name": "cube", "options": {"examples": 200}},
    "teacher": {"model": "mlp", "options": {"widths": [8]}, "epochs": 2},
}


def loaded(spec: Spec) -> Dataset:
    return load_dataset(spec.data, spec.seed, spec.teacher.columns)


def user_file(folder: Path, teacher: Any) -> Path:
    content = {"x": np.random.default_rng(0).normal(size=(60, 3)), "y": np.arange(60) % 3}
    if teacher is not None:
        content["teacher"] = np.asarray(teacher)
    np.savez(folder / "mine.npz", **content)
    return folder / "mine.npz"


def of_file(path: Path, **teacher: Any) -> Spec:
    return load_spec({"data": {"path": str(path)}, "teacher": teacher})


SOME = np.random.default_rng(1).normal(size=(60, 3))


def test_a_trained_teacher_is_stored_and_not_trained_again(tmp_path: Path) -> None:
    spec, epochs = load_spec(TRAINED), []
    store, dataset = TeacherStore(tmp_path / "teacher"), loaded(load_spec(TRAINED))
    made = obtain_teacher(store, dataset, spec, lambda epoch, *_: epochs.append(epoch))
    assert epochs == [1, 2]
    files = {file: file.read_bytes() for file in store.path.iterdir()}
    again = obtain_teacher(TeacherStore(store.path), dataset, spec, lambda *_: epochs.append(0))
    assert epochs == [1, 2]
    assert {file: file.read_bytes() for file in store.path.iterdir()} == files
    for split in SPLITS:
        np.testing.assert_array_equal(made[split], again[split])
        np.testing.assert_allclose(again[split].mean(axis=1), 0, atol=1e-6)


def test_the_stored_network_gives_the_stored_logits(tmp_path: Path) -> None:
    spec = load_spec(TRAINED)
    store, dataset = TeacherStore(tmp_path), loaded(spec)
    logits = obtain_teacher(store, dataset, spec)
    network = store.network()
    assert network is not None
    answers = network(as_tensor(standardised(dataset, dataset.test))).detach().numpy()
    np.testing.assert_allclose(centred(answers), logits["test"], atol=1e-5)
    assert store.card().flops == 2 * (16 * 8 + 8 * 4)
    assert store.card().parameters == 17 * 8 + 9 * 4


def test_equal_specs_train_equal_teachers(tmp_path: Path) -> None:
    spec = load_spec(TRAINED)
    both = [obtain_teacher(TeacherStore(tmp_path / n), loaded(spec), spec) for n in "ab"]
    np.testing.assert_array_equal(both[0]["train"], both[1]["train"])


def test_data_of_another_size_are_noticed(tmp_path: Path) -> None:
    spec = load_spec(TRAINED)
    obtain_teacher(TeacherStore(tmp_path), loaded(spec), spec)
    larger = load_spec(TRAINED, ["data.options.examples=210"])
    with pytest.raises(CheckpointError, match=r"cube has changed since the teacher in .* learnt"):
        obtain_teacher(TeacherStore(tmp_path), loaded(larger), larger)


def test_data_that_another_version_read_are_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, store = load_spec(TRAINED), TeacherStore(tmp_path)
    obtain_teacher(store, loaded(spec), spec)
    assert store.card().version == version_and_commit()
    larger = load_spec(TRAINED, ["data.options.examples=210"])
    with pytest.raises(CheckpointError, match=r"learnt from it; restore the data, or search"):
        obtain_teacher(store, loaded(larger), larger)
    monkeypatch.setattr(obtain, "version_and_commit", lambda: "9.9")
    with pytest.raises(CheckpointError, match=r"or bdistil 9\.9 reads it otherwise than 0.* or go"):
        obtain_teacher(store, loaded(larger), larger)
    before = store.card()
    assert before.model_copy(update={"version": "9.9"}).content == before.content


@pytest.mark.parametrize("changed", ["x", "y", "teacher"])
def test_a_file_whose_values_changed_is_noticed(tmp_path: Path, changed: str) -> None:
    store, path = TeacherStore(tmp_path / "teacher"), user_file(tmp_path, SOME)
    spec = of_file(path)
    obtain_teacher(store, loaded(spec), spec)
    obtain_teacher(store, loaded(spec), spec)
    values = dict(np.load(path))
    values[changed][[0, 1]] = values[changed][[1, 0]]
    np.savez(path, **values)
    with pytest.raises(CheckpointError, match=r"mine has changed since the teacher"):
        obtain_teacher(store, loaded(spec), spec)


def test_logits_that_come_with_the_data_are_taken_centred(tmp_path: Path) -> None:
    spec = of_file(user_file(tmp_path, SOME + 100))
    store, dataset = TeacherStore(tmp_path / "teacher"), loaded(spec)
    logits = obtain_teacher(store, dataset, spec)
    assert dataset.train.teacher_outputs is not None
    np.testing.assert_allclose(logits["train"], centred(dataset.train.teacher_outputs), atol=1e-4)
    assert store.network() is None
    assert store.card().flops is None


@given(
    arrays.arrays(np.float32, (4, 3), elements=st.floats(0, 1, width=32)).filter(
        lambda p: (p.sum(axis=1) > 0.01).all()
    )
)
def test_probabilities_become_clipped_logarithms(probabilities: Any) -> None:
    logits = as_logits(probabilities, "probabilities")
    assert logits.dtype == np.float32
    assert logits.min() >= np.log(LEAST_PROBABILITY) - 1e-4
    shares = probabilities / probabilities.sum(axis=1, keepdims=True)
    kept = shares > LEAST_PROBABILITY
    np.testing.assert_allclose(np.exp(logits)[kept], shares[kept], rtol=1e-4)


def test_probabilities_of_a_file_end_as_centred_logits(tmp_path: Path) -> None:
    probabilities = np.tile([1.0, 0.0, 0.0], (60, 1))
    spec = of_file(user_file(tmp_path, probabilities), outputs="probabilities")
    logits = obtain_teacher(TeacherStore(tmp_path / "teacher"), loaded(spec), spec)
    gap = -np.log(LEAST_PROBABILITY)
    np.testing.assert_allclose(logits["train"][0], [2 * gap / 3, -gap / 3, -gap / 3], rtol=1e-5)


NEGATIVE = r"teacher.outputs is probabilities, but some are negative or a row sums to 0"
EQUAL = r"the teacher's outputs are all equal on the training split"
UNFIT: dict[str, tuple[Any, dict[str, Any], str]] = {
    "negative": (SOME, {"outputs": "probabilities"}, NEGATIVE),
    "empty rows": (np.zeros((60, 3)), {"outputs": "probabilities"}, NEGATIVE),
    "zeros": (np.zeros((60, 3)), {}, EQUAL),
    "equal": (np.full((60, 3), 0.1), {}, EQUAL),
    "equal per row": (np.repeat(SOME[:, :1], 3, axis=1) * 1e-3, {}, EQUAL),
    "uniform": (np.full((60, 3), 1 / 3), {"outputs": "probabilities"}, EQUAL),
    "too narrow": (SOME[:, :2], {}, r"the teacher has 2 outputs, but the label needs 3"),
    "too wide": (np.hstack([SOME, SOME]), {}, r"the teacher has 6 outputs, but the label needs 3"),
    "wrong column": (SOME, {"columns": ["logits"]}, r"set teacher.columns=\[teacher\]"),
    "not there": (None, {"columns": ["teacher"]}, r"array 'teacher' is missing"),
    "NaN": (np.where(SOME > 2, np.nan, SOME), {}, r"array 'teacher' has .* missing value"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_outputs_that_cannot_teach_are_refused_before_anything_is_written(
    tmp_path: Path, case: str
) -> None:
    outputs, teacher, sentence = UNFIT[case]
    spec = of_file(user_file(tmp_path, outputs), **teacher)
    with pytest.raises(TeacherError, match=sentence) as caught:
        launch_search(spec, tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("teacher.model=resnet50", r"teacher 'resnet50' is unknown; .*known: cnn, cnn1d"),
        ("teacher.model=cnn", r"teacher 'cnn' takes inputs of shape"),
        ("teacher.options={width: 3}", r"teacher 'mlp' has no option 'width'; did you mean 'widt"),
        ("teacher.options={widths: [0]}", r"teacher.options.widths.0 is 0"),
        ("teacher={columns: [a]}", r"teacher.columns are for your own file"),
    ],
)
def test_a_teacher_that_cannot_be_built_is_refused_before_anything_is_written(
    tmp_path: Path, override: str, sentence: str
) -> None:
    with pytest.raises(BdistilError, match=sentence):
        launch_search(load_spec(TRAINED, [override]), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_teacher_that_learnt_nothing_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forget(model: torch.nn.Module, *_: Any, **__: Any) -> None:
        for parameter in model.parameters():
            torch.nn.init.zeros_(parameter)

    monkeypatch.setattr("bdistil.teachers.trained.train_teacher", forget)
    spec, store = load_spec(TRAINED), TeacherStore(tmp_path / "teacher")
    with pytest.raises(TeacherError, match=EQUAL):
        obtain_teacher(store, loaded(spec), spec)
    assert not store.exists


@pytest.mark.parametrize("name", ["config.json", "logits.safetensors", "model.safetensors"])
@pytest.mark.parametrize("content", [None, b"", b"{}", b"\x80\x04pickle", b"[1, 2"])
def test_damaged_files_are_named(tmp_path: Path, name: str, content: bytes | None) -> None:
    spec = load_spec(TRAINED)
    store = TeacherStore(tmp_path / "teacher")
    dataset = loaded(spec)
    obtain_teacher(store, dataset, spec)
    file = store.path / name
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    elif name == "config.json":
        assert not store.exists  # the card is written last: without it there is no teacher
        return
    with pytest.raises(CheckpointError, match=rf"{name} is missing or damaged"):
        obtain_teacher(store, dataset, spec), store.network()


def test_checking_a_teacher_builds_none(tmp_path: Path) -> None:
    huge = load_spec(TRAINED, ["teacher.options={widths: [1000000, 1000000]}"])
    check_teacher(loaded(huge), huge)  # 4 TB of weights
    with pytest.raises(SpecError):
        check_teacher(loaded(huge), load_spec(TRAINED, ["teacher.model=none"]))


def test_other_logits_than_the_teacher_gave_are_noticed(tmp_path: Path) -> None:
    spec = load_spec(TRAINED)
    store = TeacherStore(tmp_path)
    logits = obtain_teacher(store, loaded(spec), spec)
    changed = {name: -values for name, values in logits.items()}
    store.logits_file.write_bytes(safetensors.numpy.save(changed))
    with pytest.raises(CheckpointError, match="is not what the teacher answered"):
        obtain_teacher(store, loaded(spec), spec)


def test_a_teacher_worse_than_guessing_is_told(tmp_path: Path) -> None:
    wrong = 3 * np.eye(3)[(np.arange(60) + 1) % 3]
    spec = of_file(user_file(tmp_path, wrong))
    with pytest.warns(BdistilWarning, match=r"commonest answer; check the order of"):
        obtain_teacher(TeacherStore(tmp_path / "teacher"), loaded(spec), spec)


LABELS = {"y": np.stack([np.arange(60) % 2, np.arange(60) % 3 == 0], axis=1).astype(int)}


def of_labels(folder: Path, teacher: Any, **settings: Any) -> Spec:
    x = np.random.default_rng(0).normal(size=(60, 3))
    np.savez(folder / "mine.npz", x=x, teacher=np.asarray(teacher), **LABELS)
    return of_file(folder / "mine.npz", **settings)


def test_logits_of_labels_are_not_centred(tmp_path: Path) -> None:
    spec = of_labels(tmp_path, SOME[:, :2])
    dataset = loaded(spec)
    logits = obtain_teacher(TeacherStore(tmp_path / "teacher"), dataset, spec)
    np.testing.assert_array_equal(logits["train"], dataset.train.teacher_outputs)


def test_known_answers_are_not_trained_by_several(tmp_path: Path) -> None:
    spec = of_labels(tmp_path, SOME[:, :2]).model_copy(update={"teacher": TeacherSpec(workers=2)})
    with pytest.raises(TeacherError, match=r"teacher\.workers is 2.* is another \(columns\)"):
        check_teacher(loaded(spec), spec)


def test_settings_of_training_are_said_to_have_no_effect_on_known_answers(tmp_path: Path) -> None:
    spec = of_labels(tmp_path, SOME[:, :2])
    idle = spec.teacher.model_copy(update={"epochs": 3, "lr": 0.5})
    with pytest.warns(BdistilWarning, match=r"trained \(columns\), so epochs, lr of .* no effect"):
        check_teacher(loaded(spec), spec.model_copy(update={"teacher": idle}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_teacher(loaded(spec), spec)


def test_probabilities_of_labels_are_each_of_their_own(tmp_path: Path) -> None:
    chances = np.clip(np.abs(SOME[:, :2]) / 3, 0, 1)
    spec = of_labels(tmp_path, chances, outputs="probabilities")
    dataset = loaded(spec)
    logits = obtain_teacher(TeacherStore(tmp_path / "teacher"), dataset, spec)
    expected = dataset.train.teacher_outputs.clip(LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    np.testing.assert_allclose(1 / (1 + np.exp(-logits["train"])), expected, rtol=1e-4)
    spec = of_labels(tmp_path, SOME[:, :2], outputs="probabilities")
    with pytest.raises(TeacherError, match="some lie outside 0 to 1"):
        check_teacher(loaded(spec), spec)


def test_a_trained_teacher_of_labels_keeps_their_logits(tmp_path: Path) -> None:
    spec = load_spec(TRAINED | {"data": {"name": "documents", "options": {"examples": 300}}})
    dataset, store = loaded(spec), TeacherStore(tmp_path / "teacher")
    with pytest.warns(BdistilWarning, match="below the .* of always giving the commonest answer"):
        logits = obtain_teacher(store, dataset, spec)
    inputs = as_tensor(standardised(dataset, dataset.test))
    with torch.no_grad():
        np.testing.assert_allclose(store.network()(inputs), logits["test"], atol=1e-5)


@given(arrays.arrays(np.float64, (12, 3), elements=st.sampled_from([0.0, 1.0])))
def test_no_constant_answer_beats_the_best_guess(y: Any) -> None:
    truth = torch.as_tensor(y)
    answers = [torch.tensor([*map(int, f"{code:03b}")]) - 0.5 for code in range(1, 8)]
    scores = [metric(answer.expand(12, 3), truth, "multilabel") for answer in answers]
    assert best_guess(y, "multilabel") == pytest.approx(max(scores))
