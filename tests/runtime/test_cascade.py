"""The teacher as the last stage: asked about what the ensemble is not sure of, and no more."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deployed import deploy, examples
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from small_ensembles import inputs
from tiny import tiny

import bdistil
from bdistil import Predictor
from bdistil.errors import CheckpointError, SpecError, TeacherError
from bdistil.export.calibration import calibrate
from bdistil.runtime.exits import ExitPolicy, confidence

STUDENTS = [("mlp", 3, "dense", True), ("mlp", 2, "none", True)]
TARGETS = torch.nn.Sequential(torch.nn.Linear(5, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3))


@pytest.fixture(autouse=True)
def teacher_weights() -> None:
    torch.manual_seed(7)
    for parameter in TARGETS.parameters():
        torch.nn.init.normal_(parameter)


def teacher(x: np.ndarray) -> np.ndarray:
    """Always right."""
    with torch.no_grad():
        return TARGETS(torch.as_tensor(x)).numpy()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An ensemble that is right now and then, calibrated beside its teacher."""
    deploy(tmp_path / "model", *STUDENTS)
    ensemble = bdistil.Ensemble.from_pretrained(tmp_path / "model")
    x = inputs("mlp", 400)
    with torch.no_grad():
        stages = [stage.numpy() for stage in ensemble.stages(x)]
    logits = teacher(x.numpy())
    calibration = calibrate(stages, logits.argmax(1), (1.0, 2.0), "classification", logits)
    config = replace(ensemble.config, calibration=calibration)
    built = bdistil.Ensemble(config, list(ensemble), ensemble.shift, ensemble.scale)
    built.save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


def test_only_unsure_examples_are_asked_and_get_the_teachers_answers(folder: Path) -> None:
    seen: list[np.ndarray] = []

    def watched(x: np.ndarray) -> np.ndarray:
        seen.append(x)
        return teacher(x)

    x = examples("mlp", 300, seed=5)
    alone, both = Predictor(folder), Predictor(folder, teacher=watched)
    assert both.cascade is not None
    before, after = alone.answer(x), both.answer(x)
    assert after.asked is not None
    sure = confidence([before.probabilities])
    np.testing.assert_array_equal(after.asked, sure < both.cascade.point.policy.threshold)
    (asked,) = seen
    np.testing.assert_array_equal(asked, x[after.asked])
    names = np.array(both.manifest.names)
    np.testing.assert_array_equal(
        after.values[after.asked], names[teacher(x[after.asked]).argmax(1)]
    )
    np.testing.assert_array_equal(after.values[~after.asked], before.values[~after.asked])
    np.testing.assert_allclose(after.probabilities.sum(axis=1), 1, rtol=1e-5)
    right = names[teacher(x).argmax(1)]
    assert np.mean(after.values == right) > np.mean(before.values == right)
    assert before.asked is None


def test_the_share_and_the_accuracy_on_validation_are_those_that_are_said(folder: Path) -> None:
    predictor = Predictor(folder, teacher=teacher)
    assert predictor.cascade is not None
    point = predictor.cascade.point
    alone = max(predictor.manifest.calibration.asks, key=lambda each: each.cost)
    assert alone.cost == 1.0
    assert alone.metric == 1.0  # the truth is the teacher's
    assert point.assured >= alone.metric - 0.003


def test_a_teacher_that_was_of_no_use_is_not_asked(folder: Path, tmp_path: Path) -> None:
    ensemble = bdistil.Ensemble.from_pretrained(folder)
    x = inputs("mlp", 400)
    with torch.no_grad():
        stages = [stage.numpy() for stage in ensemble.stages(x)]
    truth = stages[-1].argmax(1)  # the ensemble is always right
    logits = teacher(x.numpy())
    calibration = calibrate(stages, truth, (1.0, 2.0), "classification", logits)
    config = replace(ensemble.config, calibration=calibration)
    bdistil.Ensemble(config, list(ensemble), ensemble.shift, ensemble.scale).save_pretrained(
        tmp_path / "right"
    )
    predictor = Predictor(tmp_path / "right", teacher=teacher)
    assert predictor.cascade is not None
    assert predictor.cascade.point.cost == 0
    far = np.full((4, 5), 1e-3, np.float32) * np.arange(4)[:, None]  # less sure than any there
    answer = predictor.answer(np.concatenate([far, examples("mlp", 500, seed=9)]))
    assert answer.asked is not None
    assert not answer.asked.any()


def test_stages_and_deadlines_ask_nobody(folder: Path) -> None:
    def never(x: np.ndarray) -> np.ndarray:
        raise AssertionError("asked")

    predictor, x = Predictor(folder, teacher=never), examples("mlp")
    assert predictor.answer(x, stages=2).asked is None
    assert predictor.answer(x, deadline=10).asked is None


def test_early_exits_ask_only_about_what_stayed_to_the_end(folder: Path) -> None:
    predictor, x = Predictor(folder, teacher=teacher), examples("mlp", 200)
    answer = predictor.answer(x, exit=ExitPolicy("confidence", 0.6))
    assert answer.asked is not None
    assert (answer.stages[answer.asked] == len(predictor)).all()


@pytest.mark.parametrize(
    ("answers", "error", "sentence"),
    [
        (lambda x: 1 / 0, TeacherError, "cannot be asked: division by zero"),
        (lambda x: teacher(x)[:, :2], TeacherError, r"answers in shape \(\d+, 2\)"),
        (lambda x: teacher(x) * np.nan, TeacherError, "what is no number"),
        (lambda x: np.full((len(x), 3), 1 / 3), SpecError, "look like probabilities"),
        ("model.onnx", SpecError, "teacher is 'model.onnx', and there is no such file"),
        ("model", SpecError, "give True for the exported one, the path of a .onnx file"),
        (torch.nn.Linear(4, 3), TeacherError, "the teacher cannot be asked: mat1 and mat2"),
    ],
)
def test_teachers_that_fail_are_one_sentence(
    folder: Path, answers: Any, error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        Predictor(folder, teacher=answers).answer(examples("mlp", 100))


def test_probabilities_do_as_well(folder: Path) -> None:
    def probabilities(x: np.ndarray) -> np.ndarray:
        return torch.softmax(torch.as_tensor(teacher(x)), 1).numpy()

    x = examples("mlp", 100)
    logits = Predictor(folder, teacher=teacher).answer(x)
    same = Predictor(folder, teacher=probabilities, teacher_outputs="probabilities").answer(x)
    np.testing.assert_array_equal(same.values, logits.values)
    np.testing.assert_allclose(same.probabilities, logits.probabilities, atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_a_torch_module_is_asked_as_in_evaluation(folder: Path, training: bool) -> None:
    module = torch.nn.Sequential(TARGETS, torch.nn.Dropout(0.9)).train(training)
    x = examples("mlp", 100)
    expected = Predictor(folder, teacher=teacher).answer(x)
    predictor = Predictor(folder, teacher=module)
    for each in (predictor, copy.deepcopy(predictor)):
        found = each.answer(x)
        assert found.asked is not None
        assert found.asked.any()
        np.testing.assert_array_equal(found.probabilities, expected.probabilities)
    assert module.training is training


def test_a_graph_of_ones_own_is_asked_whatever_its_input_is_called(folder: Path) -> None:
    pytest.importorskip("onnxruntime")
    x = examples("mlp", 100)
    expected = Predictor(folder, teacher=teacher).answer(x)
    file = folder.parent / "mine.onnx"
    batch = {"features": {0: torch.export.Dim.DYNAMIC}}
    names = {"input_names": ["features"], "output_names": ["answers"]}
    module = torch.nn.Sequential(TARGETS)
    torch.onnx.export(
        module,
        (torch.as_tensor(x),),
        file,
        dynamo=True,
        verbose=False,
        external_data=False,
        dynamic_shapes=(batch["features"],),
        **names,
    )
    for path in (file, str(file)):
        predictor = Predictor(folder, teacher=path)
        for each in (predictor, pickle.loads(pickle.dumps(predictor))):
            np.testing.assert_allclose(
                each.answer(x).probabilities, expected.probabilities, atol=1e-6
            )
    file.write_bytes(b"no graph")
    with pytest.raises(CheckpointError, match=r"mine\.onnx is damaged"):
        Predictor(folder, teacher=file)


def test_an_estimators_classes_are_found_by_name(folder: Path) -> None:
    x = examples("mlp", 300, seed=3)
    names = np.array(["class 2", "class 0", "class 1"])
    estimator = LogisticRegression().fit(x, names[teacher(x).argmax(1)])
    both = Predictor(folder, teacher=estimator).answer(x)
    assert both.asked is not None
    np.testing.assert_array_equal(both.values[both.asked], estimator.predict(x[both.asked]))
    other = MLPClassifier(max_iter=5).fit(x, teacher(x).argmax(1) + 10)
    with pytest.raises(SpecError, match="the teacher knows class '10'"):
        Predictor(folder, teacher=other)


def test_an_estimator_that_is_not_fitted_is_told(folder: Path) -> None:
    with pytest.raises(SpecError, match=r"LogisticRegression, has no classes_.* fit it first\.$"):
        Predictor(folder, teacher=LogisticRegression())


def test_an_export_without_the_teacher_is_told(folder: Path) -> None:
    with pytest.raises(SpecError, match="run `bdistil export --with-teacher`"):
        Predictor(folder, teacher=True)


def test_without_its_teachers_answers_an_ensemble_cannot_ask(tmp_path: Path) -> None:
    deploy(tmp_path / "model", *STUDENTS)
    with pytest.raises(SpecError, match="knows nothing of its teacher"):
        Predictor(tmp_path / "model", teacher=teacher)
    deploy(tmp_path / "targets", *STUDENTS, task="regression", class_names=None)
    with pytest.raises(SpecError, match=r"is a regression, whose .*; do not ask its teacher"):
        Predictor(tmp_path / "targets", teacher=teacher)


@pytest.mark.filterwarnings("ignore::bdistil.errors.BdistilWarning")
def test_a_teacher_is_exported_and_asked(bdistil: Callable[..., Any], tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    import bdistil as package

    spec = tiny("workers.count=0", "search.rounds=1", "teacher.epochs=40")
    run = package.search(spec, tmp_path / "run")
    answer = bdistil("export", tmp_path / "run", "--out", tmp_path / "out", "--with-teacher")
    assert answer.status == 0, answer.errors
    assert "The teacher is best asked about " in answer.printed
    dataset = run.dataset
    predictor = Predictor(tmp_path / "out", teacher=True)
    found = predictor.answer(dataset.test.x)
    assert found.asked is not None
    assert found.asked.any()
    logits = run.run.teacher.logits()["test"]
    names = np.array(dataset.class_names)
    np.testing.assert_array_equal(found.values[found.asked], names[logits.argmax(1)][found.asked])
    np.savez(tmp_path / "x.npz", x=dataset.test.x, y=names[dataset.test.y])
    assert bdistil("export", tmp_path / "run", "--with-teacher").status == 0
    for there in (tmp_path / "out", tmp_path / "run"):
        for place in (there, there.as_uri()):
            told = bdistil("predict", place, tmp_path / "x.npz", "--ask-teacher")
            assert f"the teacher answered {found.asked.mean():.1%} of the rows" in told.errors
    refused = bdistil(
        "predict", tmp_path / "out", tmp_path / "x.npz", "--ask-teacher", "--stages", 1
    )
    assert "the teacher is asked after the last stage" in refused.errors
    (tmp_path / "out" / "teacher" / "teacher.onnx").write_bytes(b"other")
    with pytest.raises(CheckpointError, match=r"teacher\.onnx is damaged or another file"):
        Predictor(tmp_path / "out", teacher=True)


@pytest.mark.filterwarnings("ignore::bdistil.errors.BdistilWarning")
def test_a_regressions_teacher_is_refused_before_anything_is_written(
    bdistil: Callable[..., Any], tmp_path: Path
) -> None:
    import bdistil as package

    spec = tiny("workers.count=0", "search.rounds=1", "data={name: diabetes}")
    package.search(spec, tmp_path / "run")
    refused = bdistil("export", tmp_path / "run", "--out", tmp_path / "out", "--with-teacher")
    assert "how sure they are; leave --with-teacher away" in refused.errors
    assert refused.status == 2
    assert not (tmp_path / "out").exists()


def test_a_budget_of_flops_is_of_the_ensemble_alone(folder: Path) -> None:
    predictor = Predictor(folder, teacher=teacher)
    with pytest.raises(SpecError, match="budgets are of the ensemble alone"):
        predictor.predict_batch(inputs("mlp", 5).numpy(), "50%")


def test_what_a_known_teacher_answers_is_not_asked(folder: Path) -> None:
    fitted = LogisticRegression().fit(np.eye(5)[:3], ["class 0", "class 1", "class 2"])
    with pytest.raises(SpecError, match="what this teacher answers is known"):
        Predictor(folder, teacher=fitted, teacher_outputs="logits")
