"""`bdistil predict` says which labels of a file it cannot compare with, and refuses empty files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from deployed import deploy, examples

from bdistil import Predictor

STUDENTS = [("mlp", 3, "dense", True)] * 2
NAMES = ("red", "round", "soft")
TASKS: dict[str, dict[str, Any]] = {
    "classification": {"class_names": NAMES},
    "multilabel": {"class_names": NAMES},
    "regression": {"class_names": None},
}


@pytest.mark.parametrize(
    ("task", "labels", "sentence", "compared"),
    [
        ("classification", ["blue"] * 4, "4 labels are no class that training knew", False),
        ("classification", ["red", "blue", "red", "red"], "1 label is no class", True),
        ("classification", np.eye(4), "4 labels are no class that training knew", False),
        ("multilabel", [["1", "0", "yes"]] * 4, "4 labels are none of 0, 1, true and false", False),
        ("multilabel", np.zeros((4, 2)), "labels of shape (4, 2) do not fit", False),
        ("regression", [["1", "2", "many"]] * 4, "4 labels are no number, such as 'many'", False),
    ],
)  # fmt: skip
def test_labels_that_cannot_be_compared_with_are_said(
    bdistil: Callable[..., Any],
    tmp_path: Path,
    task: str,
    labels: Any,
    sentence: str,
    compared: bool,
) -> None:
    deploy(tmp_path / "model", *STUDENTS, task=task, **TASKS[task])
    data = tmp_path / "x.npz"
    np.savez(data, x=examples("mlp", 4), y=np.array(labels))
    answer = bdistil("predict", tmp_path / "model", data)
    assert answer.status == 0
    assert f"not compared with in {data}: {sentence}" in answer.errors
    assert ("on the labels" in answer.errors) == compared
    assert len(answer.printed.splitlines()) == 5


def test_missing_labels_are_nothing_to_speak_of(
    bdistil: Callable[..., Any], tmp_path: Path
) -> None:
    columns = {"features": [{"name": name} for name in "abcde"], "label": "kind"}
    deploy(tmp_path / "model", *STUDENTS, class_names=NAMES, columns=columns)
    frame = pd.DataFrame(examples("mlp", 4), columns=list("abcde"))
    right = Predictor(tmp_path / "model").predict(frame)
    for kind, said in ((None, ""), ([*right[:3], None], "(known in 3 of 4 rows): 1.0000")):
        frame.assign(kind=kind).to_csv(tmp_path / "x.csv", index=False)
        answer = bdistil("predict", tmp_path / "model", tmp_path / "x.csv")
        assert answer.status == 0
        assert "not compared" not in answer.errors
        assert answer.errors.rstrip("\n").endswith(said)


def test_a_label_column_among_several_that_is_missing_is_said(
    bdistil: Callable[..., Any], tmp_path: Path
) -> None:
    columns = {"features": [{"name": name} for name in "abcde"], "label": NAMES}
    deploy(tmp_path / "model", *STUDENTS, task="multilabel", class_names=NAMES, columns=columns)
    frame, data = pd.DataFrame(examples("mlp", 4), columns=list("abcde")), tmp_path / "x.csv"
    frame.assign(red=1, soft=0).to_csv(data, index=False)
    answer = bdistil("predict", tmp_path / "model", data)
    assert answer.status == 0
    assert "compared with no labels, as column 'round' of them is missing" in answer.errors
    frame.to_csv(data, index=False)
    assert bdistil("predict", tmp_path / "model", data).errors == ""


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("asked", [(), ("--budget", "50%"), ("--deadline", "1s")])
def test_arrays_without_rows_are_refused(
    bdistil: Callable[..., Any], tmp_path: Path, task: str, asked: tuple[str, ...]
) -> None:
    deploy(tmp_path / "model", *STUDENTS, task=task, **TASKS[task])
    np.savez(tmp_path / "x.npz", x=examples("mlp", 4)[:0])
    answer = bdistil("predict", tmp_path / "model", tmp_path / "x.npz", *asked)
    assert answer.status == 2
    assert (
        answer.errors
        == f"Error: {tmp_path / 'x.npz'}: array 'x' has no rows; give one with examples.\n"
    )
