"""What the commands print and write."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import write_spec

import bdistil as package
from bdistil import Predictor
from bdistil.cli.display import clock
from bdistil.cli.evaluation_tables import share
from bdistil.export.config import EnsembleConfig
from bdistil.export.ensemble import Ensemble
from bdistil.runs.run_directory import RunDirectory
from bdistil.spec import load_spec
from bdistil.store import lease
from bdistil.version import version_and_commit

COMMANDS = (
    "search",
    "resume",
    "status",
    "report",
    "datasets",
    "students",
    "export",
    "predict",
    "pareto",
)
STAGE_KEYS = {
    "stage",
    "metric",
    "flops",
    "streamed_flops",
    "flops_fraction",
    "parameters",
    "latency_ratio",
    "latency",
    "sup_norm",
    "sup_norm_out_of_fold",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(bdistil: Callable[..., Any], command: str) -> None:
    answer = bdistil(command, "--help")
    assert answer.status == 0
    assert f"bdistil {command} [OPTIONS]" in answer.printed
    assert command in bdistil("--help").printed


def test_the_version(bdistil: Callable[..., Any]) -> None:
    assert bdistil("--version").printed == f"{package.__version__}\n"


def test_the_module_is_the_command() -> None:
    command = [sys.executable, "-m", "bdistil", "--version"]
    assert subprocess.check_output(command, text=True) == f"{package.__version__}\n"


def test_data_sets_and_students_are_listed(bdistil: Callable[..., Any]) -> None:
    listed = bdistil("datasets").printed
    for name in ("cube", "ellipsoid", "digits", "wine", "diabetes"):
        assert f"\n{name} " in listed
    listed = bdistil("students").printed
    sequences = "cnn1d", "fcn", "spectrogram", "gru", "lstm"
    for name in ("mlp", "cnn", *sequences, "torchvision:mobilenet_v2"):
        assert f"\n{name} " in listed


def test_the_way_on_after_a_time_budget_leads_on(
    bdistil: Callable[..., Any], tmp_path: Path
) -> None:
    small = ("workers.count=0", "search.rounds=1", "search.time_budget=0.1", "space.epochs=90000")
    answer = bdistil("search", write_spec(tmp_path, *small), "--out", "here")
    assert answer.status == 1
    told = answer.errors.splitlines()[-1]
    assert told.startswith("No round was accepted within search.time_budget=0.1.")
    go_on = told.partition("bdistil ")[2].split()
    assert go_on == ["resume", "here", "search.time_budget=null"]
    spec = load_spec(Path("here/spec.yaml"), go_on[2:])
    assert spec.search.time_budget is None


def test_the_state_of_a_search_without_a_round(bdistil: Callable[..., Any], tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    run.create(load_spec({"data": {"name": "cube"}, "space": {"recipe": "accurate"}}))
    assert bdistil("status", run.path).printed == f"{run.path}: stopped, 0 of 6 rounds accepted\n"
    summary = json.loads(bdistil("status", run.path, "--json").printed)
    expected: dict[str, Any] = {"state": "stopped", "version": "", "rounds": 6, "accepted": 0}
    expected["received_bytes"] = []
    expected["game"] = None
    nothing = {"teacher": None, "stages": [], "data": None, "ended": None, "stopped_trials": []}
    nothing |= {"cut_trials": [], "kept_trials": 0}
    assert summary == expected | nothing
    with run.locked():
        assert json.loads(bdistil("status", run.path, "--json").printed)["state"] == "running"


def test_numbers_as_people_read_them() -> None:
    assert [clock(s) for s in (0, 59.9, 60, 3599, 3600, 36_061)] == [
        "0:00",
        "0:59",
        "1:00",
        "59:59",
        "1:00:00",
        "10:01:01",
    ]
    assert (share(None), share(0.1234)) == ("-", "12.3%")


def test_the_state_of_a_finished_search(bdistil: Callable[..., Any], finished_run: Path) -> None:
    summary = json.loads(bdistil("status", finished_run, "--json").printed)
    assert (summary["state"], summary["rounds"], summary["accepted"]) == ("complete", 3, 3)
    assert summary["version"] == version_and_commit()
    assert summary["received_bytes"] == [{}, {}, {}]  # one node, which sends itself nothing
    assert summary["teacher"].keys() == {"metric", "flops", "parameters", "latency"}
    assert [stage["stage"] for stage in summary["stages"]] == [1, 2, 3]
    assert all(stage.keys() == STAGE_KEYS for stage in summary["stages"])
    shown = bdistil("status", finished_run).printed
    assert shown.startswith(f"{finished_run}: complete, 3 of 3 rounds accepted\n")
    for stage in summary["stages"]:
        assert f"{stage['metric']:.4f}" in shown
        assert f"{stage['flops']:,}" in shown


def test_a_damaged_evaluation_is_computed_again(bdistil: Callable[..., Any], run: Path) -> None:
    file = run / "evaluation.json"
    before = json.loads(file.read_text())
    for content in ("", "[]", "{}", '{"stages": 3}'):
        file.write_text(content)
        after = json.loads(bdistil("status", run, "--json").printed)
        assert [s["metric"] for s in after["stages"]] == [s["metric"] for s in before["stages"]]
        found = json.loads(file.read_text())["teacher"]
        assert found.pop("latency") > 0  # measured anew
        assert found == {k: v for k, v in before["teacher"].items() if k != "latency"}


def test_a_curve_of_other_students_is_computed_again(
    bdistil: Callable[..., Any], run: Path
) -> None:
    file = run / "evaluation.json"
    before = json.loads(file.read_text())
    stale = before | {"of": "other students"}
    stale["stages"] = [stage | {"metric": 0.123} for stage in before["stages"]]
    file.write_text(json.dumps(stale))
    after = json.loads(bdistil("status", run, "--json").printed)
    assert [s["metric"] for s in after["stages"]] == [s["metric"] for s in before["stages"]]


@pytest.mark.parametrize("command", ["status", "report", "export"])
@pytest.mark.parametrize("fault", ["deleted", "foreign"])
def test_a_run_that_lost_a_student_is_refused(
    bdistil: Callable[..., Any], run: Path, command: str, fault: str
) -> None:
    assert bdistil("status", run).status == 0  # so that figures are kept
    first, second = run / "students" / "001.safetensors", run / "students" / "002.safetensors"
    second.unlink() if fault == "deleted" else second.write_bytes(first.read_bytes())
    answer = bdistil(command, run)
    assert answer.status == 2
    assert "002.safetensors" in answer.errors


def test_search_on_a_finished_run_shows_its_curve(bdistil: Callable[..., Any], run: Path) -> None:
    answer = bdistil("search", run / "spec.yaml", "workers.count=7", "--out", run)
    assert answer.status == 0
    assert "3 of 3 rounds accepted." in answer.errors
    assert f"Report: {run}/report.html" in answer.errors
    assert answer.printed.startswith("stage")
    assert (run / "report.html").exists()


def test_a_run_at_a_uri_is_a_run(
    bdistil: Callable[..., Any], run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.1)
    uri, kept = run.as_uri(), len(RunDirectory(run).journal.read())
    for lost in ("report.html", "ensemble/model.safetensors"):
        (run / lost).unlink(missing_ok=True)
    assert f"{uri}: complete, {kept} of {kept} rounds" in bdistil("status", uri).printed
    assert bdistil("report", uri).printed == f"{uri}/report.html\n"
    assert "svg" in (run / "report.html").read_text()
    assert bdistil("export", uri).printed == f"{uri}/ensemble\n"
    assert (run / "ensemble" / "model.safetensors").exists()
    np.savez(tmp_path / "rows.npz", x=np.zeros((2, 16), np.float32))
    answers = bdistil("predict", uri, tmp_path / "rows.npz").printed
    assert answers == bdistil("predict", run, tmp_path / "rows.npz").printed
    resumed = bdistil("resume", uri)
    assert f"Ensemble: {uri}/ensemble\nReport: {uri}/report.html\n" in resumed.errors
    missing = bdistil("status", f"{uri}/nothing")
    assert f"{uri}/nothing is no run directory" in missing.errors


def test_export_writes_an_ensemble(bdistil: Callable[..., Any], run: Path, tmp_path: Path) -> None:
    out = tmp_path / "models" / "[1] :bug:"
    assert bdistil("export", run, "--out", out).printed == f"{out}\n"
    x = np.random.default_rng(0).normal(size=(9, 16)).astype(np.float32)
    exported, kept = Ensemble.from_pretrained(out), Ensemble.from_pretrained(run)
    assert torch.equal(exported(torch.tensor(x)), kept(torch.tensor(x)))
    assert "# tiny" in (out / "README.md").read_text()
    file = tmp_path / "file"
    file.write_text("precious")
    answer = bdistil("export", run, "--out", file)
    assert answer.status == 2
    assert "file cannot be written" in answer.errors
    assert file.read_text() == "precious"


def test_an_export_of_a_search_that_has_not_ended_says_so(
    bdistil: Callable[..., Any], run: Path, tmp_path: Path
) -> None:
    assert "has not ended" not in bdistil("export", run, "--out", tmp_path / "whole").errors
    journal = run / "rounds.jsonl"
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:1]))
    answer = bdistil("export", run, "--out", tmp_path / "out")
    assert answer.status == 0
    said = " ".join(answer.errors.split())
    assert f"not ended (1 round so far); `bdistil resume {run}` goes on." in said
    assert len(Predictor(tmp_path / "out")) == 1


def test_a_web_page_needs_the_runtime_of_npm(
    bdistil: Callable[..., Any], run: Path, tmp_path: Path
) -> None:
    out, runtime = tmp_path / "out", tmp_path / "runtime"
    refused = bdistil("export", run, "--out", out, "--web", "--web-runtime", runtime)
    assert refused.status
    assert "npm install onnxruntime-web" in " ".join(refused.errors.split())
    assert not out.exists()


def test_an_export_into_a_folder_in_use_touches_nothing(
    bdistil: Callable[..., Any], run: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "letter.txt").write_text("dear")
    for out in (folder, tmp_path):
        answer = bdistil("export", run, "--out", out, "--onnx")
        assert answer.status == 2
        assert f"--out {out} holds other files and no saved ensemble;" in answer.errors
    assert [path.name for path in folder.iterdir()] == ["letter.txt"]
    (folder / "inner").mkdir()
    for _ in range(2):  # an empty folder, and then an export of ours, which is written over
        assert bdistil("export", run, "--out", folder / "inner").status == 0


def test_export_in_other_formats(bdistil: Callable[..., Any], run: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    answer = bdistil(
        "export", run, "--out", out, "--stages", 2, "--int8-anyway", "--torch-export", "--c"
    )
    assert answer.status == 0
    assert "µs, one example" in answer.printed
    assert "Straight to a stage: students " in answer.printed
    assert {file.name for file in (out / "c").iterdir()} == {"ensemble.h", "hashes.json"}
    assert f"{out / 'c'}: " in answer.printed
    folders = {"onnx": "onnx", "onnx-int8": "onnx", "programs": "pt2"}
    for folder, suffix in folders.items():
        assert str(out / folder) in answer.printed
        names = {f"{kind}_{stage}.{suffix}" for kind in ("stage", "prefix") for stage in (1, 2)}
        names |= {"model.onnx", "exits.onnx", "hashes.json"} if suffix == "onnx" else set()
        assert {file.name for file in (out / folder).iterdir()} == names
    x = np.random.default_rng(0).normal(size=(200, 16)).astype(np.float32)
    predictors = [Predictor(out, backend=backend) for backend in ("torch", "onnx", "int8")]
    torches, graphs, small = (predictor.predict_proba(x) for predictor in predictors)
    np.testing.assert_allclose(graphs, torches, atol=1e-5)
    assert (small.argmax(axis=1) == torches.argmax(axis=1)).mean() > 0.6
    assert not np.array_equal(small, graphs)
    refused = bdistil("export", run, "--stages", 2)
    assert refused.status == 2
    assert "--stages needs --out" in refused.errors


def test_report_writes_one_file(bdistil: Callable[..., Any], run: Path, tmp_path: Path) -> None:
    out = tmp_path / "some" / "folder" / "tiny.html"
    assert bdistil("report", run, "--out", out).printed == f"{out}\n"
    assert out.read_text().startswith("<!doctype html>")
    assert bdistil("report", run).printed == f"{run}/report.html\n"
    answer = bdistil("report", run, "--out", tmp_path)
    assert answer.status == 2
    assert answer.errors.count("\n") == 1


def linear(folder: Path, **changes: Any) -> Path:
    """A saved ensemble whose one student says yes where column a is positive."""
    from bdistil.core.student import StudentConfig
    from bdistil.export.checkpoint import build_student

    config = StudentConfig("mlp", 1, "none", False)
    student = build_student(config, (3,), 2, ())
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.zero_()
        student.body.layers[1].weight[0, 0] = 1
        student.head.weight[:] = torch.tensor([[-1.0], [1.0]])
        student.head.bias[:] = torch.tensor([0.1, -0.1])
    features = [
        {"name": "a", "categories": None},
        {"name": "place", "categories": ["north", "south"]},
    ]
    settings = {
        "name": "linear",
        "domain": "tabular",
        "task": "classification",
        "input_shape": (3,),
        "outputs": 2,
        "students": (config,),
        "class_names": ("no", "yes"),
        "columns": {"features": features, "label": "y"},
    } | changes
    ensemble = Ensemble(EnsembleConfig(**settings), [student], torch.zeros(3), torch.ones(3))
    ensemble.save_pretrained(folder)
    return folder


FRAME = pd.DataFrame(
    {"place": ["south", "north", "west"], "a": [2.0, -2.0, 3.0], "y": ["yes", "no", "maybe"]}
)


def written(folder: Path, suffix: str, frame: pd.DataFrame = FRAME) -> Path:
    path = folder / f"data{suffix}"
    if suffix == ".csv":
        frame.to_csv(path, index=False)
    elif suffix == ".parquet":
        frame.to_parquet(path)
    else:
        x = np.stack([frame["a"], frame["place"] == "north", frame["place"] == "south"], axis=1)
        np.savez(path, x=x.astype(float), y=frame["y"].to_numpy(dtype=str))
    return path


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz"])
def test_predictions_of_a_file(bdistil: Callable[..., Any], tmp_path: Path, suffix: str) -> None:
    model, data = linear(tmp_path / "model"), written(tmp_path, suffix)
    answer = bdistil("predict", model, data, "--stages", 1)
    assert answer.status == 0
    header, *rows = answer.printed.split("\n")[:-1]
    assert header == "prediction,probability"
    assert [row.split(",")[0] for row in rows] == ["yes", "no", "yes"]
    assert all(0.5 < float(row.split(",")[1]) <= 1 for row in rows)
    known = f"accuracy on the labels in {data} (known in 2 of 3 rows): 1.0000\n"
    assert answer.errors.endswith(known)
    assert ("1 of 3 values are categories" in answer.errors) == (suffix != ".npz")
    out = tmp_path / "answers.csv"
    assert bdistil("predict", model, data, "--out", out).printed == ""
    assert out.read_text() == answer.printed


def test_predictions_of_a_folder(bdistil: Callable[..., Any], tmp_path: Path) -> None:
    model = linear(tmp_path / "model", columns=None)
    folder = tmp_path / "arrays"
    folder.mkdir()
    np.save(folder / "x.npy", np.float32([[2, 0, 0], [-2, 0, 0]]))
    np.save(folder / "y.npy", np.array(["yes", "yes"]))
    answer = bdistil("predict", model, folder)
    assert [row.split(",")[0] for row in answer.printed.splitlines()[1:]] == ["yes", "no"]
    assert f"accuracy on the labels in {folder}: 0.5000" in answer.errors


def test_predictions_of_a_regression(bdistil: Callable[..., Any], tmp_path: Path) -> None:
    model = linear(tmp_path / "model", task="regression", class_names=None, columns=None)
    np.savez(tmp_path / "x.npz", x=np.zeros((2, 3)))
    answer = bdistil("predict", model, tmp_path / "x.npz")
    assert answer.errors == ""
    header, *rows = answer.printed.splitlines()
    assert header == "prediction_0,prediction_1"
    assert [float(value) for value in rows[0].split(",")] == pytest.approx([0.1, -0.1])


def test_targets_that_are_no_numbers_are_not_compared(
    bdistil: Callable[..., Any], tmp_path: Path
) -> None:
    model = linear(tmp_path / "model", task="regression", class_names=None, columns=None)
    data = tmp_path / "x.npz"
    for y, error in [
        (np.array([["a", "b"], ["1", "2"], ["4", "5"]]), "(known in 2 of 3 rows)"),
        (np.array([[np.nan, 1], [1, 2], [4, 5]]), "(known in 2 of 3 rows)"),
        (np.array([["a", "b"]] * 3), ""),
    ]:
        np.savez(data, x=np.zeros((3, 3)), y=y)
        answer = bdistil("predict", model, data)
        assert answer.status == 0
        assert error in answer.errors
        assert ("R²" in answer.errors) == bool(error)


def test_data_that_do_not_fit_the_ensemble(bdistil: Callable[..., Any], tmp_path: Path) -> None:
    model, out = linear(tmp_path / "model"), tmp_path / "answers.csv"
    cases = {
        "the table lacks column 'a'": FRAME.drop(columns="a"),
        "column 'a' has 1 missing value in row 0": FRAME.assign(a=[None, 1.0, 2.0]),
        "column 'a' holds 'x' in row 2": FRAME.assign(a=["1", "2", "x"]),
    }
    for sentence, frame in cases.items():
        answer = bdistil("predict", model, written(tmp_path, ".csv", frame), "--out", out)
        assert answer.status == 2
        assert sentence in answer.errors
        assert answer.errors.count("\n") == 1
    np.savez(tmp_path / "wide.npz", x=np.zeros((2, 4)))
    assert "such examples, or a table" in bdistil("predict", model, tmp_path / "wide.npz").errors
    assert "does not exist" in bdistil("predict", model, tmp_path / "none.csv").errors
    assert not out.exists()


def test_stages_and_places_that_are_not_there(bdistil: Callable[..., Any], tmp_path: Path) -> None:
    model, data = linear(tmp_path / "model"), written(tmp_path, ".csv")
    for stages in (0, 2, -1):
        answer = bdistil("predict", model, data, "--stages", stages)
        assert answer.status == 2
        assert f"stages is {stages}; 'linear' has stages 1 to 1" in answer.errors
    answer = bdistil("predict", model, data, "--out", tmp_path)
    assert answer.status == 2
    assert f"{tmp_path} cannot be written" in answer.errors


def test_predictions_of_a_run(bdistil: Callable[..., Any], run: Path, tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(5000, 16))
    np.save(tmp_path / "x.npy", x)
    printed = bdistil("predict", run, tmp_path / "x.npy", "--stages", 2).printed
    rows = [line.split(",")[0] for line in printed.splitlines()[1:]]
    assert rows == Ensemble.from_pretrained(run).predict(x, stages=2).tolist()
