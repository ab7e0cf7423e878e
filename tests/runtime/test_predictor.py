"""The predictor: to a stage, to a deadline, until sure, within a budget, interrupted."""

from __future__ import annotations

import json
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deployed import config_to_change, deploy, examples

from bdistil import ExitPolicy, Predictor
from bdistil.errors import BdistilWarning, CheckpointError, DataError, SpecError
from bdistil.export.ensemble import Ensemble
from bdistil.runtime.hashes import CONFIG_HASH, hash_of_config
from bdistil.runtime.pace import Pace

MIXED = (
    ("mlp", 3, "none", True),
    ("mlp", 2, "dense", False),
    ("mlp", 4, "lstm", True),
    ("mlp", 2, "gru", False),
    ("mlp", 3, "residual", True),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mixed")
    deploy(path, *MIXED)
    return path


@pytest.fixture(scope="module")
def predictor(folder: Path) -> Predictor:
    return Predictor(folder)


@pytest.fixture(scope="module")
def cumulative(folder: Path) -> list[np.ndarray]:
    """F_1, F_2, ... of 40 examples, from the ensemble itself."""
    with torch.no_grad():
        stages = Ensemble.from_pretrained(folder).stages(torch.as_tensor(examples("mlp", 40)))
        return [stage.numpy() for stage in stages]


def names(logits: np.ndarray) -> list[str]:
    return [f"class {index}" for index in logits.argmax(axis=1)]


def test_every_way_to_a_stage_gives_its_answer(predictor: Predictor, cumulative: list) -> None:
    x = examples("mlp", 40)
    for stage, answer in enumerate(predictor.stages(x), start=1):
        assert answer.values.tolist() == names(cumulative[stage - 1])
        assert predictor.predict(x, stages=stage).tolist() == names(cumulative[stage - 1])
        assert set(answer.stages) == {stage}
    assert predictor.predict(x).tolist() == names(cumulative[-1])


def test_probabilities_are_calibrated_by_the_stages_temperature(
    predictor: Predictor, cumulative: list
) -> None:
    for stage in (1, 3):
        scaled = torch.as_tensor(cumulative[stage - 1]) / predictor.manifest.temperatures[stage - 1]
        expected = scaled.softmax(dim=1).numpy()
        found = predictor.predict_proba(examples("mlp", 40), stages=stage)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_bodies_in_parallel_give_the_same_answers(folder: Path, predictor: Predictor) -> None:
    parallel = Predictor(folder, threads=2)
    x = examples("mlp", 40)
    for stage in range(1, len(MIXED) + 1):
        mine, other = predictor.answer(x, stages=stage), parallel.answer(x, stages=stage)
        np.testing.assert_array_equal(mine.probabilities, other.probabilities)


@pytest.mark.parametrize("score", ["confidence", "margin", "patience", "stability"])
def test_each_example_leaves_as_the_policy_says(
    predictor: Predictor, cumulative: list, score: str
) -> None:
    policy = predictor.policy(score, budget="60%", by="flops").policy
    answer = predictor.answer(examples("mlp", 40), exit=policy)
    temperatures = predictor.manifest.temperatures
    trace = [
        (torch.as_tensor(logits) / t).softmax(dim=1).numpy()
        for logits, t in zip(cumulative, temperatures, strict=True)
    ]
    for row in range(40):
        seen = [step[row : row + 1] for step in trace]
        stops = [s for s in range(1, 6) if s == 5 or policy.leaves(seen[:s])[0]]
        assert answer.stages[row] == stops[0]
        assert answer.values[row] == names(cumulative[stops[0] - 1])[row]


def test_thresholds_at_both_ends(predictor: Predictor) -> None:
    x = examples("mlp", 40)
    assert set(predictor.answer(x, exit=ExitPolicy("confidence", 0.0)).stages) == {1}
    assert set(predictor.answer(x, exit=ExitPolicy("confidence", np.inf)).stages) == {5}


def test_a_named_exit_kept_the_full_accuracy_on_validation(predictor: Predictor) -> None:
    full = max(predictor.manifest.exits, key=lambda point: point.cost)
    point = predictor.policy("margin", by="flops")
    assert point.metric >= full.metric - 0.001
    assert point.cost <= full.cost
    assert predictor.policy(at_least=full.metric - 0.1, by="flops").cost <= point.cost
    x = examples("mlp", 40)
    by_point, by_policy = (predictor.answer(x, exit=e).stages for e in (point, point.policy))
    np.testing.assert_array_equal(by_point, by_policy)
    with pytest.raises(SpecError, match="not both"):
        predictor.policy(at_least=0.5, budget="50%")


def test_a_budgeted_batch_costs_no_more_and_spends_it_on_the_unsure(predictor: Predictor) -> None:
    x, costs = examples("mlp", 40), np.array(predictor.manifest.costs)
    for share in (0.3, 0.6, 0.9):
        answer = predictor.predict_batch(x, f"{share:.0%}")
        assert costs[answer.stages - 1].mean() <= share * costs[-1] * (1 + 1e-9)
        first = predictor.predict_proba(x, stages=1).max(axis=1)
        stopped, went_on = first[answer.stages == 1], first[answer.stages > 1]
        if len(stopped) and len(went_on):
            assert stopped.min() >= went_on.max()
    assert set(predictor.predict_batch(x, "100%").stages) == {5}
    first = predictor.manifest.costs[0]
    with pytest.warns(BdistilWarning, match=rf"1 FLOPs .* first stage takes, {first:,.0f}, and"):
        assert set(predictor.predict_batch(x, 1).stages) == {1}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert set(predictor.predict_batch(x, first).stages) == {1}
    for rows in (0, 1):
        with pytest.raises(SpecError, match="a budget of 'much' cannot be read"):
            predictor.predict_batch(x[:rows], "much")


def test_a_deadline_always_brings_an_answer(predictor: Predictor, cumulative: list) -> None:
    x = examples("mlp", 40)
    hasty, patient = predictor.answer(x, deadline=1e-9), predictor.answer(x, deadline="60s")
    assert hasty.values.tolist() == names(cumulative[hasty.stages[0] - 1])
    assert set(patient.stages) == {5}


class Slow:
    """A runner whose later stages last until the test lets them."""

    def __init__(self, runner: Any) -> None:
        self.runner = runner
        self.gate = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.runner, name)

    def advance(self, progress: Any) -> Any:
        if progress.stage >= 2:
            assert self.gate.wait(30)
        return self.runner.advance(progress)


@pytest.fixture
def slow(folder: Path) -> Any:
    predictor = Predictor(folder)
    predictor.warm_up()
    predictor.deadlines.pace = Pace()
    runner = Slow(predictor.runner)
    predictor.runner = runner
    yield predictor
    runner.gate.set()


def test_a_deadline_leaves_a_stage_that_takes_too_long(slow: Predictor, cumulative: list) -> None:
    answer = slow.answer(examples("mlp", 40), deadline="3s")
    assert set(answer.stages) == {2}
    assert answer.values.tolist() == names(cumulative[1])


def test_a_stop_from_another_thread_gives_the_last_finished_stage(slow: Predictor) -> None:
    run = slow.start(examples("mlp", 40))
    threading.Timer(0.2, run.stop).start()
    answer = slow.finished(run.wait())
    assert 1 <= answer.stages[0] <= 2
    slow.runner.gate.set()
    assert run.wait().stage <= 3  # a stopped run begins nothing new


def test_a_run_can_be_asked_twice_for_something_better(predictor: Predictor) -> None:
    run = predictor.start(examples("mlp", 40))
    assert run.wait(timeout=0).stage >= 1
    assert run.wait().stage == 5


def test_an_error_in_the_thread_reaches_who_waits(predictor: Predictor, folder: Path) -> None:
    broken = Predictor(folder)

    class Broken(Slow):
        def advance(self, progress: Any) -> Any:
            raise MemoryError("no room")

    broken.runner = Broken(predictor.runner)
    with pytest.raises(MemoryError, match="no room"):
        broken.answer(examples("mlp"), deadline="1s")


def test_an_error_in_a_later_stage_is_not_hidden(predictor: Predictor, folder: Path) -> None:
    broken = Predictor(folder)

    class Breaks(Slow):
        def advance(self, progress: Any) -> Any:
            if progress.stage == 1:
                raise MemoryError("no room")
            return self.runner.advance(progress)

    broken.runner = Breaks(predictor.runner)
    with pytest.raises(MemoryError, match="no room"):
        broken.start(examples("mlp")).wait()


def test_a_table_is_encoded_as_in_training(tmp_path: Path) -> None:
    columns = {
        "features": [{"name": "a"}, {"name": "b", "categories": ["x", "y", "z"]}, {"name": "c"}],
        "label": "y",
    }
    deploy(tmp_path, ("mlp", 3, "none", True), columns=columns)
    predictor = Predictor(tmp_path)
    table = {"c": [3.0, 4.0], "a": [1.0, 2.0], "b": ["z", "x"]}
    encoded = np.array([[1, 0, 0, 1, 3], [2, 1, 0, 0, 4]], np.float32)
    np.testing.assert_array_equal(predictor.predict(table), predictor.predict(encoded))


def test_regression_answers_with_numbers(tmp_path: Path) -> None:
    students = [("mlp", 3, "dense", True)] * 3
    ensemble = deploy(tmp_path, *students, task="regression", class_names=None, outputs=2)
    predictor, x = Predictor(tmp_path), examples("mlp", 40)
    with torch.no_grad():
        expected = ensemble(torch.as_tensor(x)).numpy()
    np.testing.assert_allclose(predictor.predict(x), expected, atol=1e-6)
    sure = predictor.answer(x, exit="stability")
    assert sure.probabilities is None
    assert predictor.predict_batch(x, "70%").stages.max() > 1
    with pytest.raises(SpecError, match=r"regression, which .* by 'confidence'; choose stability"):
        predictor.predict(x, exit="confidence")
    with pytest.raises(SpecError, match=r"regression, which .* by 'margin'; choose stability"):
        predictor.predict(x, exit=ExitPolicy("margin", 0.9))
    with pytest.raises(SpecError, match="is a regression; use predict"):
        predictor.predict_proba(x)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"stages": 0}, DataError, "stages is 0; 'small' has stages 1 to 5"),
        ({"stages": 6}, DataError, "stages is 6; 'small' has stages 1 to 5"),
        ({"deadline": "soon"}, SpecError, "'soon' is no duration; write 0.005, '5ms'"),
        ({"deadline": -1}, SpecError, "-1 is no duration"),
        ({"deadline": "5ms", "stages": 1}, SpecError, "one of stages, deadline and exit"),
        ({"exit": "luck"}, SpecError, "exit score 'luck' is unknown; choose confidence"),
    ],
)
def test_wrong_settings(predictor: Predictor, settings: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        predictor.predict(examples("mlp"), **settings)


@pytest.mark.parametrize("budget", ["half", "-3%", 0, "%"])
def test_wrong_budgets(predictor: Predictor, budget: Any) -> None:
    with pytest.raises(SpecError, match=r"cannot be read; give FLOPs, or such as '50%'"):
        predictor.predict_batch(examples("mlp"), budget)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_examples_that_are_no_numbers_get_no_answer(predictor: Predictor, value: float) -> None:
    with pytest.raises(DataError, match=r"x has 10 .* values, the first in row 0"):
        predictor.predict(np.full((2, 5), value))


def test_examples_of_another_shape(predictor: Predictor) -> None:
    with pytest.raises(DataError, match=r"has shape \(4,\), but 'small' takes \(5,\)"):
        predictor.predict(np.zeros((2, 4)))


def test_an_ensemble_without_figures_says_what_it_cannot(folder: Path, tmp_path: Path) -> None:
    content = config_to_change(folder)
    (tmp_path / "config.json").write_text(
        json.dumps(content | {"figures": None, "calibration": None})
    )
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    old = Predictor(tmp_path)
    assert len(old.predict(examples("mlp"))) == 9
    with pytest.raises(SpecError, match="without early exits; export it anew"):
        old.policy()
    with pytest.raises(SpecError, match="without figures; export it or save"):
        old.predict_batch(examples("mlp"), "50%")


def test_what_is_no_ensemble(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is no saved ensemble"):
        Predictor(tmp_path)
    (tmp_path / "config.json").write_text('{"format": 1, "name": "x"}')
    with pytest.raises(CheckpointError, match=r"config\.json is damaged"):
        Predictor(tmp_path)


def test_what_a_newer_version_wrote_is_not_called_damaged(folder: Path, tmp_path: Path) -> None:
    """Whole, as its hash tells, but with a field that is not known yet."""
    content = config_to_change(folder)
    content["calibration"]["exits"][0]["a_field_of_tomorrow"] = 1
    content[CONFIG_HASH] = hash_of_config(content)
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"is whole, .*a_field_of_tomorrow.* a newer one"):
        Predictor(tmp_path)
    del content[CONFIG_HASH]
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"config\.json is damaged"):
        Predictor(tmp_path)


@pytest.mark.parametrize("layout", ["NHW", "NHWC"])
def test_images_are_taken_with_their_axes_as_in_training(layout: str, tmp_path: Path) -> None:
    deploy(tmp_path, ("cnn", 4, "none", True))
    predictor, x = Predictor(tmp_path), examples("cnn")
    assert x.shape[1] == 1
    given = x[:, 0] if layout == "NHW" else x.transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(predictor.predict(given), predictor.predict(x))
    assert len(predictor.predict(given[:0])) == 0
