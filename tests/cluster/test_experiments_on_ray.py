"""Designed experiments and comparisons by their commands, each search a task of Ray."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import bdistil as bdistil_alone
from tiny import command as command_alone
from tiny import tiny

from bdistil.runs.run_directory import RunDirectory
from bdistil.searching.outcome import load_students, run_dataset

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("local_ray")]

SPEC = ("space.growth=1.6", "search.rounds=3", "space.connection=dense", "space.epochs=6")


def spec_file(folder: Path, name: str, *overrides: str) -> str:
    path = folder / f"{name}.yaml"
    path.write_text(tiny(f"name={name}", "search.rounds=2", *overrides).to_yaml())
    return str(path)


@pytest.mark.nightly
def test_what_is_wrong_with_a_teacher_is_told(tmp_path: Path, bdistil: Callable[..., Any]) -> None:
    documents = "data={name: documents, options: {examples: 300}}"
    spec = spec_file(tmp_path, "one", documents, "search.rounds=1", "teacher.epochs=1")
    cells = ("--cell", "space.skip=true", "--cell", "space.skip=false")
    answer = bdistil("ablate", spec, *cells, "--seeds", "1", "--out", tmp_path / "out")
    assert answer.status == 0, answer.errors
    assert answer.errors.count("Note: one, seed 0: the teacher's validation metric") == 1


def test_an_experiment_from_the_command_line(tmp_path: Path, bdistil: Callable[..., Any]) -> None:
    out = tmp_path / "out"
    command = (
        "ablate", spec_file(tmp_path, "one"), "space.epochs=3", "--vary",
        "space.connection=[none, dense]", "--seeds", "2", "--out", out,
    )  # fmt: skip
    first = bdistil(*command)
    assert first.status == 0, first.errors
    assert re.search(r"\[teacher [12]/2\] one seed 1", first.errors)
    assert "[4/4]" in first.errors
    table = pd.read_parquet(out / "curves.parquet")
    assert len(table) == 2 * 2 * 2
    assert "connection=" in first.printed
    assert (out / "README.md").read_text().count("![anytime curves]") == 1

    kept = next((out / "runs").glob("*/figures.json"))
    content = json.loads(kept.read_text())
    run = RunDirectory(kept.parent)
    dataset = run_dataset(run)
    gaps = [
        np.abs(logits.detach().numpy() - run.teacher.logits()["train"]).max()
        for logits in load_students(run, dataset).stages(
            torch.tensor(
                (dataset.train.x - dataset.standardisation.shift) / dataset.standardisation.scale
            )
        )
    ]
    np.testing.assert_allclose([s["sup_norm"] for s in content["stages"]], gaps, rtol=1e-5)

    kept.unlink()  # as if the command had been killed before this one
    again = bdistil(*command)
    assert again.status == 0, again.errors
    assert again.errors.count("last stage") == 1
    pd.testing.assert_frame_equal(
        pd.read_parquet(out / "curves.parquet").drop(columns=["latency_ratio", "seconds"]),
        table.drop(columns=["latency_ratio", "seconds"]),
    )
    itself = bdistil("reproduce", out, "--out", out)
    assert itself.status == 2
    assert "is the experiment itself" in itself.errors

    other = bdistil(*command[:-3], "1", "--vary", "space.skip=[true, false]", "--out", out)
    assert other.status == 2
    assert "holds another experiment" in other.errors


@pytest.mark.nightly
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_stopped_experiment_goes_on_and_ends_the_same(
    number: signal.Signals, tmp_path: Path
) -> None:
    asked = (
        "ablate", spec_file(tmp_path, "one", "search.rounds=4", "space.epochs=20"),
        "--vary", "space.connection=[none, dense]", "--seeds", "1",
    )  # fmt: skip
    out, whole = tmp_path / "out", tmp_path / "whole"
    alone = os.environ | {"RAY_ADDRESS": ""}
    with subprocess.Popen(
        command_alone(*asked, "--out", out), stderr=subprocess.PIPE, text=True, env=alone
    ) as started:
        while not list(out.glob("runs/*/rounds.jsonl")):
            assert started.poll() is None
            time.sleep(0.02)
        started.send_signal(number)
        _, errors = started.communicate()
    if number is signal.SIGKILL:
        assert started.returncode == -number
    else:
        assert started.returncode == 130, errors
        assert "The same command goes on" in errors
        assert "Traceback" not in errors
    assert len(list(out.glob("runs/*/figures.json"))) < 2
    for place in (out, whole):
        done = bdistil_alone(*asked, "--out", place, env=alone)
        assert done.returncode == 0, done.stderr
    tables = [pd.read_parquet(place / "curves.parquet") for place in (out, whole)]
    took = [name for name in tables[0] if name in ("latency_ratio", "latency", "seconds")]
    pd.testing.assert_frame_equal(*(table.drop(columns=took) for table in tables))


@pytest.mark.nightly
def test_an_experiment_is_repeated(tmp_path: Path, bdistil: Callable[..., Any]) -> None:
    cells = ("--vary", "space.connection=[none, dense]", "--seeds", "2", "--out", tmp_path / "out")
    first = bdistil("ablate", spec_file(tmp_path, "one"), "space.epochs=3", *cells)
    assert first.status == 0, first.errors
    again = ("--seeds", "1", "--out", tmp_path / "again")
    repeated = bdistil("reproduce", tmp_path / "out", *again)
    assert repeated.status == 0, repeated.errors
    assert "Reproduces: all 2 means" in repeated.printed
    assert pd.read_parquet(tmp_path / "again" / "curves.parquet").seed.unique().tolist() == [0]


def test_a_comparison_from_the_command_line(tmp_path: Path, bdistil: Callable[..., Any]) -> None:
    spec = tmp_path / "one.yaml"
    spec.write_text(tiny("name=one", *SPEC).to_yaml())
    out = tmp_path / "out"
    command = ("compare", spec, "--seeds", "1", "--method", "average", "--out", out)
    answer = bdistil(*command)
    assert answer.status == 0, answer.errors
    assert "[3/3]" in answer.errors
    table = pd.read_parquet(out / "curves.parquet")
    assert set(table.cell) == {"method=ours", "method=oracle", "method=average"}
    assert "budget unknown" in (out / "README.md").read_text().lower()
    wrong = bdistil("compare", spec, "--method", "magic", "--out", tmp_path / "other")
    assert wrong.status == 2
    assert "--method 'magic' is unknown; choose ours, streaming, boosting" in wrong.errors
