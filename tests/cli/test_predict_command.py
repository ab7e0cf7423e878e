"""`bdistil predict` answers as the Predictor does, row by row, on every task."""

from __future__ import annotations

import csv
import io
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from deployed import config_to_change, deploy, examples

from bdistil import Predictor
from bdistil.data import new_examples

STUDENTS = [("mlp", 3, "dense", True)] * 3
NAMES = ("red", "round", "soft")
TASKS: dict[str, dict[str, Any]] = {
    "classification": {"class_names": NAMES},
    "multilabel": {"class_names": NAMES},
    "regression": {"class_names": None},
}
FEATURES = [{"name": "colour", "categories": ["blue", "green"]}, *({"name": n} for n in "abc")]
FRAME = pd.DataFrame(examples("mlp", 40)[:, :3], columns=list("cba")).assign(
    colour=["green", "blue"] * 20
)


def printed_by(bdistil: Callable[..., Any], *arguments: object) -> list[list[str]]:
    answer = bdistil("predict", *arguments)
    assert answer.status == 0, answer.errors
    return list(csv.reader(io.StringIO(answer.printed)))


def expected_rows(folder: Path, x: Any, stages: int | None, task: str) -> list[list[Any]]:
    """What the Predictor says of each row, called with this row alone."""
    predictor, rows = Predictor(folder), []
    for row in range(len(x)):
        answer = predictor.answer(x[row : row + 1], stages=stages)
        if task == "classification":
            rows.append([answer.values[0], answer.probabilities.max()])
        elif task == "multilabel":
            rows.append([*answer.values[0], *answer.probabilities[0]])
        else:
            rows.append([*answer.values[0]])
    return rows


@pytest.mark.parametrize("stages", [None, 2])
@pytest.mark.parametrize("kind", ["csv", "parquet", "npz", "npy"])
@pytest.mark.parametrize("task", TASKS)
def test_rows_are_answered_as_by_the_predictor(
    bdistil: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    task: str,
    kind: str,
    stages: int | None,
) -> None:
    columns = {"features": FEATURES, "label": "y" if task == "classification" else NAMES}
    settings = TASKS[task] | ({"columns": columns} if kind in ("csv", "parquet") else {})
    deploy(tmp_path / "model", *STUDENTS, task=task, **settings)
    warm_all_temperatures(tmp_path / "model")
    monkeypatch.setattr(new_examples, "BATCH", 16)
    x, file = FRAME if kind in ("csv", "parquet") else examples("mlp", 40), tmp_path / f"x.{kind}"
    if kind == "csv":
        FRAME.to_csv(file, index=False)
    elif kind == "parquet":
        FRAME.to_parquet(file)
    else:
        np.savez(file, x=x) if kind == "npz" else np.save(file, x)
    asked = [] if stages is None else ["--stages", stages]
    header, *rows = printed_by(bdistil, tmp_path / "model", file, *asked)
    expected = expected_rows(tmp_path / "model", x, stages, task)
    assert len(rows) == len(expected) == 40
    answers = {"classification": 1, "multilabel": 3, "regression": 0}[task]
    for mine, other in zip(rows, expected, strict=True):
        assert len(mine) == len(header)
        assert mine[:answers] == list(map(str, other[:answers]))
        numbers = list(map(float, mine[answers:]))
        assert numbers == pytest.approx(list(map(float, other[answers:])), abs=2e-5, rel=1e-5)


def warm_all_temperatures(folder: Path) -> None:
    """Far from 1, so that nothing that leaves them out can pass."""
    content = config_to_change(folder)
    temperatures = content["calibration"]["temperatures"]
    content["calibration"]["temperatures"] = [3.0 + stage for stage, _ in enumerate(temperatures)]
    (folder / "config.json").write_text(json.dumps(content))


def test_labels_of_several_batches_are_compared(
    bdistil: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(tmp_path / "model", *STUDENTS, class_names=NAMES)
    monkeypatch.setattr(new_examples, "BATCH", 16)
    x = examples("mlp", 40)
    right = Predictor(tmp_path / "model").predict(x)
    np.savez(tmp_path / "x.npz", x=x, y=np.where(np.arange(40) < 10, "other", right))
    answer = bdistil("predict", tmp_path / "model", tmp_path / "x.npz")
    assert answer.errors.endswith("x.npz (known in 30 of 40 rows): 1.0000\n")
    wrong = np.where(np.arange(40) < 10, np.roll(NAMES, 1)[[NAMES.index(n) for n in right]], right)
    np.savez(tmp_path / "x.npz", x=x, y=wrong)
    answer = bdistil("predict", tmp_path / "model", tmp_path / "x.npz")
    assert answer.errors.endswith("x.npz: 0.7500\n")


@pytest.fixture
def classifier(tmp_path: Path) -> tuple[Path, Path]:
    """A saved ensemble and a file of examples."""
    folder, file = tmp_path / "model", tmp_path / "x.npy"
    deploy(folder, *STUDENTS, task="classification", class_names=NAMES)
    warm_all_temperatures(folder)
    np.save(file, examples("mlp", 40))
    return folder, file


def test_a_deadline_far_away_is_the_whole_ensemble(
    bdistil: Callable[..., Any], classifier: tuple[Path, Path]
) -> None:
    assert printed_by(bdistil, *classifier, "--deadline", "1000s") == printed_by(
        bdistil, *classifier
    )


def test_how_many_students_answered_is_said_where_that_differs(
    bdistil: Callable[..., Any], classifier: tuple[Path, Path]
) -> None:
    answer = bdistil("predict", *classifier, "--budget", "50%")
    stages = Predictor(classifier[0]).predict_batch(examples("mlp", 40), "50%").stages
    assert stages.min() < stages.max()
    expected = f"{stages.min()} to {stages.max()}, {stages.mean():.2f} in the mean"
    assert f"students that answered a row: {expected}" in answer.errors
    assert "students" not in bdistil("predict", *classifier).errors


def test_probabilities_of_every_class(
    bdistil: Callable[..., Any], classifier: tuple[Path, Path]
) -> None:
    header, *rows = printed_by(bdistil, *classifier, "--proba")
    assert header == ["prediction", *(f"probability_{name}" for name in NAMES)]
    expected = Predictor(classifier[0]).predict_proba(examples("mlp", 40))
    np.testing.assert_allclose(np.array(rows)[:, 1:].astype(float), expected, rtol=1e-5)
    assert [row[0] for row in rows] == [NAMES[index] for index in expected.argmax(axis=1)]


def test_answers_go_into_a_pipe(bdistil: Callable[..., Any], tmp_path: Path) -> None:
    deploy(tmp_path / "model", *STUDENTS)
    np.save(tmp_path / "x.npy", examples("mlp", 5))
    expected = bdistil("predict", tmp_path / "model", tmp_path / "x.npy").printed
    pipe, found = tmp_path / "pipe", list[str]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: found.append(pipe.read_text()))
    reader.start()
    answer = bdistil("predict", tmp_path / "model", tmp_path / "x.npy", "--out", pipe)
    reader.join(60)
    assert (answer.status, found) == (0, [expected])
    assert pipe.is_fifo()


def test_two_ways_of_stopping_are_refused(
    bdistil: Callable[..., Any], classifier: tuple[Path, Path]
) -> None:
    answer = bdistil("predict", *classifier, "--stages", 1, "--deadline", "1s")
    assert answer.status == 2
    assert "give one of stages, deadline, exit and budget" in answer.errors
