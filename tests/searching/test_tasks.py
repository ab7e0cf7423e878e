"""Searches for answers of each kind, from the data to what the found ensemble says of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tiny import tiny

import bdistil as package
from bdistil.cluster.launch import launch_search
from bdistil.searching.outcome import run_dataset

HERE = "workers.count=0"
Command = Callable[..., Any]


def test_a_multilabel_search_answers_each_label(tmp_path: Path, bdistil: Command) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(600, 4)), columns=list("abcd"))
    names = ["high", "far"]
    frame["high"] = frame["a"] + frame["b"] > 0
    frame["far"] = (frame[["c", "d"]].abs().sum(axis=1) > 1.2).astype(int)
    frame.to_parquet(tmp_path / "mine.parquet")
    data = {"path": str(tmp_path / "mine.parquet"), "label": names}
    changes = ["teacher.epochs=40", "space.epochs=30", "search.rounds=3", "space.connection=dense"]
    spec = package.load_spec(tiny(HERE, *changes).model_dump() | {"data": data})
    run = launch_search(spec, tmp_path / "run").run
    ensemble = package.Ensemble.from_pretrained(run.path)
    answers = ensemble.predict(frame)
    assert answers.shape == (600, 2)
    assert (answers == frame[names].to_numpy()).mean() > 0.8
    assert ensemble.config.figures.stages[-1].metric > 0.8
    predictor = package.Predictor(run.path)
    sure = predictor.answer(frame, exit=predictor.policy("confidence", by="flops"))
    assert sure.stages.min() < 3
    assert (sure.values == answers).mean() > 0.95
    parts = bdistil("predict", run.path, tmp_path / "mine.parquet")
    assert parts.printed.splitlines()[0] == (
        "prediction_high,prediction_far,probability_high,probability_far"
    )
    assert "micro F1 on the labels" in parts.errors


def test_a_regression_search_predicts_in_raw_units(tmp_path: Path) -> None:
    data = ("data.name=diabetes", "data.options={}")
    spec = tiny(HERE, *data, "space.connection=dense", "teacher.epochs=30")
    run = launch_search(spec, tmp_path / "run").run
    dataset = run_dataset(run)
    predicted = package.Ensemble.from_pretrained(run.path).predict(dataset.test.x)
    assert predicted.shape == dataset.test.y.shape
    assert np.corrcoef(predicted[:, 0], dataset.test.y[:, 0])[0, 1] > 0.5
    assert abs(predicted.mean() - dataset.train.y.mean()) < 30  # disease scores from 25 to 346


def test_a_users_own_parquet_file(tmp_path: Path, bdistil: Command) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(400, 3)), columns=["a", "b", "c"])
    frame["place"] = random.choice(["north", "south"], size=400)
    score = frame["a"] + 2 * (frame["place"] == "north") + frame["b"] ** 2
    frame["y"] = np.where(score > 1.5, "yes", "no")
    data = tmp_path / "mine.parquet"
    frame.to_parquet(data)
    fast = ("search.rounds=2", "space.epochs=10", "space.ladder=[4, 8]", "teacher.epochs=20")
    run = tmp_path / "run"
    done = bdistil("search", "--data", data, "--label", "y", HERE, *fast, "--out", run)
    assert done.status == 0, done.errors
    answers = tmp_path / "answers.csv"
    done = bdistil("predict", run, data, "--stages", "1", "--out", answers)
    assert done.status == 0, done.errors
    predictions = pd.read_csv(answers)
    assert set(predictions["prediction"]) <= {"yes", "no"}
    assert (predictions["prediction"].to_numpy() == frame["y"].to_numpy()).mean() > 0.75
    assert "accuracy on the labels" in done.errors
