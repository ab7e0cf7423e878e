"""Trials shown to Tune's loggers: plain figures, readable names, files in the run directory."""

from __future__ import annotations

import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray import tune
from tiny import tiny

from bdistil.cluster import trackers as tracking
from bdistil.cluster.launch import launch_search
from bdistil.cluster.trainable import RESULT, Report, metrics
from bdistil.errors import BdistilWarning, MissingDependencyError, SpecError
from bdistil.runs.journal import RoundRecord
from bdistil.runs.run_directory import RunDirectory
from bdistil.runs.trial import Cohort, TrialAnswer, TrialRequest
from bdistil.spec import TrackingSpec

FIGURES = ("edge", "relative_edge", "gain", "loss", "metric", "largest_gap")


def request(number: int) -> TrialRequest:
    params = {"lr": 0.02, "connection": "gru", "temperature": None}
    return TrialRequest(round=2, number=number, rung=0, attempt=0, params=params, seed=1)


ALONE = Cohort(requests=(request(3),))
TWO = Cohort(requests=(request(0), request(1)))
COHORTS = {cohort.place: cohort for cohort in (ALONE, TWO)}


def finished(**figures: Any) -> TrialAnswer:
    return TrialAnswer(status="finished", **figures)


def test_a_finished_trial_has_plain_figures_and_a_failed_one_only_its_place() -> None:
    figures = {name: index / 8 for index, name in enumerate(FIGURES)}
    assert metrics(request(3), finished(**figures)) == figures | {"round": 2, "number": 3}
    failed = TrialAnswer(status="failed", reason="NaN")
    assert metrics(request(3), failed) == {"round": 2, "number": 3}


class Notebook(tune.Callback):
    """A logger that writes down what it hears; on demand it fails."""

    def __init__(self, fail: str = "") -> None:
        self.heard: list[tuple[str, Any]] = []
        self.fail = fail

    def note(self, event: str, content: Any = None) -> None:
        if event == self.fail:
            raise ConnectionError("the server is gone")
        self.heard.append((event, content))

    def setup(self, *args: Any, **info: Any) -> None:
        self.note("setup")

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self.note("start", (trial.custom_trial_name, trial.config))

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any
    ) -> None:
        self.note("result", result)
        Path(trial.local_path, "note").write_text("kept")

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self.note("complete")

    def on_experiment_end(self, trials: Any, **info: Any) -> None:
        self.note("end")


def show(tracker: tracking.Tracker, staging: Path, result: dict[str, Any]) -> None:
    staging.mkdir(parents=True)
    trial: Any = SimpleNamespace(local_path=str(staging))
    tracker.on_trial_result(iteration=1, trials=[], trial=trial, result=result)


def tracker_of(folder: Path, **loggers: Notebook) -> tracking.Tracker:
    return tracking.Tracker(loggers, folder / "tune", COHORTS.__getitem__)


def result_of(*answers: TrialAnswer) -> dict[str, Any]:
    cohort = ALONE if len(answers) == 1 else TWO
    report = Report(place=cohort.place, answers=list(answers))
    return {RESULT: report.model_dump_json(), **metrics(cohort.requests[0], answers[0])}


def test_a_logger_hears_a_trial_by_round_and_number_with_its_values(tmp_path: Path) -> None:
    notebook, answer = Notebook(), finished(edge=0.5)
    tracker = tracker_of(tmp_path, notebook=notebook)
    tracker.setup()
    show(tracker, tmp_path / "staging", result_of(answer))
    tracker.on_experiment_end(trials=[])
    name = "round-002-trial-003"
    assert notebook.heard == [
        ("setup", None),
        ("start", (name, {"lr": 0.02, "connection": "gru"})),
        ("result", metrics(request(3), answer)),
        ("complete", None),
        ("end", None),
    ]
    assert (tmp_path / "tune" / name / "note").read_text() == "kept"


def test_every_member_of_a_cohort_is_shown(tmp_path: Path) -> None:
    members = [finished(edge=edge) for edge in (0.1, 0.7)]
    notebook = Notebook()
    show(
        tracker_of(tmp_path, notebook=notebook),
        tmp_path / "s",
        result_of(*members),
    )
    shown = [content for event, content in notebook.heard if event == "result"]
    assert shown == [metrics(*pair) for pair in zip(TWO.requests, members, strict=True)]
    for number in (0, 1):
        assert (tmp_path / "tune" / f"round-002-trial-{number:03d}" / "note").exists()


def test_a_round_that_is_played_again_replaces_its_files(tmp_path: Path) -> None:
    tracker = tracker_of(tmp_path, notebook=Notebook())
    old = tmp_path / "tune" / "round-002-trial-003" / "old"
    old.parent.mkdir(parents=True)
    old.touch()
    show(tracker, tmp_path / "staging", result_of(finished()))
    assert [file.name for file in old.parent.iterdir()] == ["note"]


@pytest.mark.parametrize("status", ["failed", "stopped"])
def test_trials_without_figures_are_not_shown(tmp_path: Path, status: str) -> None:
    notebook = Notebook()
    tracker = tracker_of(tmp_path, notebook=notebook)
    show(tracker, tmp_path / "a", result_of(finished().model_copy(update={"status": status})))
    show(tracker, tmp_path / "b", {"done": True})  # a worker that goes home
    assert notebook.heard == []


@pytest.mark.parametrize("event", ["setup", "start", "result", "end"])
def test_a_logger_that_fails_ends_the_tracking_but_not_the_search(
    tmp_path: Path, event: str
) -> None:
    broken, whole = Notebook(fail=event), Notebook()
    tracker = tracker_of(tmp_path, broken=broken, whole=whole)

    def search() -> None:
        tracker.setup()
        for index in range(2):
            show(tracker, tmp_path / str(index), result_of(finished()))
        tracker.on_experiment_end(trials=[])

    with pytest.warns(BdistilWarning, match=r"broken tracking ends here .*server is gone") as said:
        search()
    assert len(said) == 1
    assert [heard for heard, _ in whole.heard].count("result") == 2


def callbacks(*entries: Any) -> TrackingSpec:
    return TrackingSpec(callbacks=list(entries))


def test_a_missing_package_is_named_before_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "find_spec", lambda package: None)
    with pytest.raises(MissingDependencyError, match=r"wandb is not installed.*pip install wandb"):
        tracking.check_tracking(callbacks("wandb"))


def test_options_that_a_logger_does_not_take_are_named(tmp_path: Path) -> None:
    spec = tiny("tracking.callbacks=[{name: tensorboard, options: {flush: 1}}]")
    with pytest.raises(SpecError, match=r"tensorboard does not take .*flush.*TBXLoggerCallback"):
        tracking.make_tracker(spec, tmp_path, COHORTS.__getitem__)


@pytest.mark.parametrize(
    "entry",
    [
        "{name: wandb, options: {api_key: s3cret}}",
        "{name: mlflow, options: {tracking_token: s3cret}}",
        "{name: mlflow, options: {tracking_uri: 'http://me:s3cret@host'}}",
        "{name: tensorbord}",
    ],
)
def test_secrets_and_unknown_loggers_are_refused(entry: str) -> None:
    with pytest.raises(SpecError, match=r"tracking.callbacks.*(set (WANDB|MLFLOW)|tensorboard)"):
        tiny(f"tracking.callbacks=[{entry}]")


def test_tracking_may_change_when_a_run_goes_on(tmp_path: Path) -> None:
    RunDirectory(tmp_path / "run").create(tiny())
    RunDirectory(tmp_path / "run").check(tiny("tracking.callbacks=[tensorboard]"))


def searched(folder: Path, *overrides: str) -> tuple[RunDirectory, list[RoundRecord]]:
    small = ("search.rounds=2", "search.tries_per_class=1", "space.epochs=2")
    run = launch_search(tiny(*small, *overrides), folder / "run").run
    return run, run.journal.read()


@pytest.mark.cluster
def test_tensorboards_files_hold_the_figures_of_the_journal(
    local_ray: None, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    overrides = ("tracking.callbacks=[tensorboard]", f"tracking.optuna_storage={url}")
    run, records = searched(tmp_path, *overrides)
    folders = {folder.name: folder for folder in (run.path / "tune").iterdir()}
    trials = [trial for record in records for trial in record.trials]
    assert len(trials) >= 2
    for trial in trials:
        place = trial.request
        scalars = scalars_in(folders.pop(f"round-{place.round:03d}-trial-{place.number:03d}"))
        for name, value in metrics(place, trial).items():
            assert scalars[f"ray/tune/{name}"] == pytest.approx(value, rel=1e-6), name
    assert not folders
    assert not run.study_file.exists()
    assert not list(run.path.rglob("*.pkl"))


def scalars_in(folder: Path) -> dict[str, float]:
    """The scalars in a trial's event files, read record by record as TensorBoard does."""
    from tensorboardX.proto.event_pb2 import Event

    found = {}
    for file in folder.glob("events.out.tfevents.*"):
        content = file.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])  # then a checksum of four bytes
            event = Event.FromString(content[12 : 12 + length])
            found |= {value.tag: value.simple_value for value in event.summary.value}
            content = content[12 + length + 4 :]
    return found


@pytest.mark.cluster
def test_mlflow_keeps_runs_with_names_values_and_figures(local_ray: None, tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    run, records = searched(tmp_path, "tracking.callbacks=[mlflow]")
    client = mlflow.MlflowClient(f"sqlite:///{run.path}/tune/mlflow.db")
    experiment = client.get_experiment_by_name("tiny")
    shown = {kept.info.run_name: kept for kept in client.search_runs([experiment.experiment_id])}
    for record in records:
        best = record.result
        kept = shown[f"round-{record.round:03d}-trial-{best.request.number:03d}"]
        assert kept.info.status == "FINISHED"
        assert kept.data.metrics["loss"] == pytest.approx(best.loss)
        assert float(kept.data.params["lr"]) == pytest.approx(best.request.params["lr"])
