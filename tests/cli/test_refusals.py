"""Bad input ends before Ray starts: one sentence, a status that is not 0, nothing written."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from records import record

from bdistil.runs.run_directory import RunDirectory
from bdistil.spec import load_spec


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*_: object) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr("bdistil.cluster.connect.cluster", start)


def refused(answer: Any, sentence: str) -> None:
    assert answer.status == 2
    assert sentence in answer.errors
    assert answer.errors.startswith("Error: ")
    assert answer.errors.count("\n") == 1
    assert answer.printed == ""
    assert list(Path.cwd().iterdir()) == []


def spec_file(folder: Path, **sections: Any) -> Path:
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump({"data": {"name": "cube"}} | sections))
    return path


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--workers", 4), "--workers is about a search; name its SPEC file first."),
        (("workers.count=3",), "workers.count=3 is about a search; name its SPEC file first."),
    ],
)
def test_a_check_up_of_no_search_takes_nothing_of_one(
    bdistil: Any, arguments: tuple[Any, ...], sentence: str
) -> None:
    refused(bdistil("doctor", *arguments), sentence)


def test_nodes_cannot_answer_before_they_are_asked(bdistil: Any) -> None:
    answer = bdistil("doctor", "--patience", -1)
    assert answer.status == 2
    assert "--patience" in answer.errors


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("serach.rounds=3", "unknown key 'serach'; did you mean 'search'?"),
        ("search.rounds=0", "search.rounds is 0: input should be greater than 0."),
        ("space.lr=[]", "space.lr is []: list should have at least 1 item"),
        ("space.student=mpl", "student 'mpl' is unknown; did you mean 'mlp'?"),
        ("space.connection=[gru, densee]", "connection 'densee' is unknown; did you mean 'dense'?"),
        ("space.student=cnn", "student 'cnn' takes inputs of shape"),
        ("teacher.model=resnet50", "teacher 'resnet50' is unknown;"),
        ("teacher.options={depth: 3}", "teacher 'mlp' has no option 'depth';"),
        ("data.name=cubes", "data.name is 'cubes', which is no known data set; did you mean 'cu"),
        ("data.options.examples=none", "data.options.examples is 'none'"),
        ("data.options.size=3", "data.options.size is unknown to cube"),
        ("data.label=y", "data.label is for your own data (data.path)"),
        ("name=a/b", "name: must be fit for a folder"),
        ("rounds", "override 'rounds' must have the form key=value."),
    ],
)
def test_a_spec_that_cannot_be_run(
    bdistil: Callable[..., Any], tmp_path: Path, override: str, sentence: str
) -> None:
    refused(bdistil("search", spec_file(tmp_path), override), sentence)


def test_no_spec_and_no_data(bdistil: Callable[..., Any]) -> None:
    sentence = "give a SPEC file, or --data FILE and --label COLUMN for your own table."
    refused(bdistil("search"), sentence)
    refused(bdistil("search", "search.rounds=3"), sentence)


def test_a_spec_that_is_not_there(bdistil: Callable[..., Any], tmp_path: Path) -> None:
    refused(bdistil("search", tmp_path / "none.yaml"), "none.yaml does not exist")
    refused(bdistil("search", tmp_path), "cannot be read: Is a directory")


ROWS = 60


def table(**changes: Any) -> pd.DataFrame:
    random = np.random.default_rng(0)
    columns = {
        "a": random.normal(size=ROWS),
        "b": random.normal(size=ROWS),
        "y": ["yes", "no"] * (ROWS // 2),
        "logit": random.normal(size=ROWS),
    }
    return pd.DataFrame(columns | changes)


WITH_INFINITY = np.where(np.arange(ROWS) == 7, np.inf, 1.0)
TABLES: dict[str, tuple[dict[str, Any], tuple[str, ...], str]] = {
    "infinity": ({"a": WITH_INFINITY}, (), "column 'a' has 1 infinite value in row 7"),
    "label NaN": (
        {"y": np.where(np.arange(ROWS) < 7, 1.0, np.nan)},
        (),
        f"label column 'y' has {ROWS - 7} missing values, the first in row 7",
    ),
    "one class": ({"y": "yes"}, (), "label column 'y' holds only one class, 'yes'"),
    "continuous": (
        {"y": np.linspace(0, 1, ROWS)},
        ("data.task=classification",),
        "label column 'y' holds numbers with fractions",
    ),
    "narrow teacher": (
        {},
        ("teacher.columns=[logit]",),
        "the teacher has 1 output, but the label needs 2; give one a class, in the order no, yes.",
    ),
    "no such teacher": (
        {},
        ("teacher.columns=[logits]",),
        "teacher.columns names column 'logits', which is missing; did you mean 'logit'?",
    ),
    "empty teacher": ({"z": 0.0, "w": 0.0}, ("teacher.columns=[z, w]",), "outputs are all equal"),
    "negative probabilities": (
        {"z": -0.5, "w": 1.5},
        ("teacher.columns=[z, w]", "teacher.outputs=probabilities"),
        "teacher.outputs is probabilities, but some are negative",
    ),
}


@pytest.mark.parametrize("case", TABLES)
def test_a_table_that_cannot_be_learnt_from(
    bdistil: Callable[..., Any], tmp_path: Path, case: str
) -> None:
    changes, overrides, sentence = TABLES[case]
    data = tmp_path / "mine.csv"
    table(**changes).to_csv(data, index=False)
    refused(bdistil("search", *overrides, "--data", data, "--label", "y"), sentence)


def test_a_pickled_teacher_is_not_opened(bdistil: Callable[..., Any], tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (tmp_path / "bomb").mkdir, ()

    for name in ("teacher.pkl", "teacher.pt"):
        pickled = tmp_path / name
        pickled.write_bytes(pickle.dumps(Bomb()))
        answer = bdistil("search", spec_file(tmp_path), f"teacher.model={pickled}")
        refused(answer, f"{name}', a format that can hold pickles, which run any code")
    assert not (tmp_path / "bomb").exists()


def test_a_label_that_is_not_there(bdistil: Callable[..., Any], tmp_path: Path) -> None:
    data = tmp_path / "mine.csv"
    table().to_csv(data, index=False)
    refused(bdistil("search", "--data", data, "--label", "Y"), "data.label names column 'Y'")
    refused(bdistil("search", "--data", data), "data.label names column 'label'")


def test_data_of_an_unknown_format(bdistil: Callable[..., Any], tmp_path: Path) -> None:
    for name in ("mine.xlsx", "mine", "mine.csv.zip", "mine.pkl"):
        data = tmp_path / name
        data.write_bytes(b"some bytes")
        refused(bdistil("search", "--data", data, "--label", "y"), "the file type must be one of")
    refused(bdistil("search", "--data", tmp_path / "no.csv", "--label", "y"), "does not exist")


def test_names_with_brackets_and_colons_stay_whole(
    bdistil: Callable[..., Any], tmp_path: Path
) -> None:
    data = tmp_path / "[red] :bug: mine.csv"
    table().to_csv(data, index=False)
    sentence = "[red] :bug: mine.csv: data.label names column '[bold]'"
    refused(bdistil("search", "--data", data, "--label", "[bold]"), sentence)


def test_an_out_that_is_no_run(bdistil: Callable[..., Any], tmp_path: Path) -> None:
    spec = spec_file(tmp_path)
    file = tmp_path / "file"
    file.write_text("precious")
    refused(bdistil("search", spec, "--out", file), "file exists and is no run directory")
    refused(bdistil("search", spec, "--out", tmp_path.parent), "exists and is no run directory")
    assert file.read_text() == "precious"
    refused(
        bdistil("search", spec, "--out", file / "below"), "a file stands where a folder belongs"
    )


def new_run(folder: Path) -> RunDirectory:
    """A run whose search has just begun."""
    run = RunDirectory(folder / "run")
    spec = {"data": {"name": "cube"}, "space": {"student": "mlp"}, "teacher": {"epochs": 1}}
    run.create(load_spec(spec | {"search": {"rounds": 6}}))
    return run


def test_a_run_of_another_spec(bdistil: Callable[..., Any], tmp_path: Path) -> None:
    run = new_run(tmp_path)
    run.journal.append(record(1))
    before = run.spec_file.read_bytes()
    spec = tmp_path / "spec.yaml"
    spec.write_bytes(before)
    answer = bdistil("search", spec, "search.rounds=3", "--out", run.path)
    refused(answer, "holds another search (search.rounds is 6 there and 3 here); leave that as it")
    assert sorted(file.name for file in run.path.iterdir()) == ["rounds.jsonl", "spec.yaml"]
    assert run.spec_file.read_bytes() == before


@pytest.mark.parametrize("command", ["resume", "status", "report", "export"])
def test_commands_on_a_folder_that_is_no_run(
    bdistil: Callable[..., Any], tmp_path: Path, command: str
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for target in (tmp_path, tmp_path / "nowhere"):
        refused(bdistil(command, target), "is no run directory (it has no spec.yaml)")
    refused(bdistil(command, file), "is no run directory but a file")


@pytest.mark.parametrize("command", ["report", "export"])
def test_nothing_to_show_before_the_first_round(
    bdistil: Callable[..., Any], tmp_path: Path, command: str
) -> None:
    run = new_run(tmp_path)
    refused(bdistil(command, run.path), "has no accepted round yet; resume the search first")
    assert [file.name for file in run.path.iterdir()] == ["spec.yaml"]


def test_a_damaged_run(bdistil: Callable[..., Any], tmp_path: Path) -> None:
    run = new_run(tmp_path)
    run.journal.path.write_text("{}\n")
    for command in ("status", "report", "export", "resume"):
        refused(bdistil(command, run.path), "rounds.jsonl line 1 is damaged")
    run.journal.path.unlink()
    run.spec_file.write_text("data: [")
    refused(bdistil("status", run.path), "spec.yaml' is not valid YAML")


def test_predicting_with_no_ensemble(bdistil: Callable[..., Any], tmp_path: Path) -> None:
    refused(bdistil("predict", tmp_path, tmp_path / "x.npz"), "is no saved ensemble")


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("search", "--rounds", "3"),
        ("predict",),
        ("status",),
        ("predict", "a", "b", "--stages", "many"),
    ],
)
def test_wrong_usage(bdistil: Callable[..., Any], arguments: tuple[str, ...]) -> None:
    answer = bdistil(*arguments)
    assert answer.status == 2
    assert "Traceback" not in answer.errors
    assert answer.printed == ""


def test_a_lock_that_is_no_file_is_no_trap(
    bdistil: Callable[..., Any], run: Path, tmp_path: Path
) -> None:
    (run / ".lock").unlink(missing_ok=True)
    os.mkfifo(run / ".lock")
    assert bdistil("status", run).status == 0
    answer = bdistil("resume", run)
    assert answer.status == 2
    assert ".lock is no file; remove it." in " ".join(answer.errors.split())
