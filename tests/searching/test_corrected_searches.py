"""Correction and distillation loss as dimensions of a search."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from tiny import tiny

from bdistil.cluster.launch import launch_search
from bdistil.datasets.catalogue import load_dataset
from bdistil.errors import SpecError
from bdistil.searching.problem import build_problem
from bdistil.searching.resolve import comparison_measure, resolve

HERE = ("workers.count=0", "search.rounds=2", "space.connection=dense")
MIXED = (
    *HERE,
    "space.correction=[none, orthogonal, bounded]",
    "space.distillation=[kl, squared_p, squared_log_p]",
    "space.correction_bound={low: 0.0001, high: 0.1, log: true}",
    "search.select=best",
)


@pytest.mark.parametrize("cohort", [1, 2])
def test_trials_sample_correction_loss_and_bound(tmp_path: Path, cohort: int) -> None:
    run = launch_search(tiny(*MIXED, f"search.cohort={cohort}"), tmp_path / "run").run
    trials = pd.read_parquet(run.trials_file)
    assert set(trials.param_correction) <= {"none", "orthogonal", "bounded"}
    assert trials.param_correction.nunique() > 1
    assert trials.param_correction_bound.between(1e-4, 0.1).all()
    assert trials.param_correction_bound.nunique() == len(trials)
    together = trials.number // cohort
    shared = trials.groupby(["round", together])[["param_correction", "param_distillation"]]
    assert (shared.nunique() == 1).all(axis=None)


def test_a_correction_changes_the_student(tmp_path: Path) -> None:
    one = ("space.lr=0.02", "search.rounds=1", "search.tries_per_class=1")
    losses = [
        launch_search(tiny(*HERE, *one, f"space.correction={name}"), tmp_path / name)
        .rounds[0]
        .result.largest_gap
        for name in ("none", "orthogonal", "minimax_relative")
    ]
    assert len(set(losses)) == 3


def test_a_space_with_corrections_is_compared_by_the_labels() -> None:
    for overrides, share in (
        (("space.recipe=faithful",), 0.0),
        (("space.recipe=faithful", "space.correction=none"), 0.0),
        (("space.recipe=faithful", "space.correction=[none, bounded]"), 1.0),
    ):
        spec = tiny(*overrides)
        dataset = load_dataset(spec.data, 0)
        splits = ("train", "validation")
        logits = {n: getattr(dataset, n).x[:, : dataset.outputs] for n in splits}
        measure = comparison_measure(spec, build_problem(dataset, logits))
        assert measure.label_share == share


@pytest.mark.parametrize(
    ("field", "value"), [("correction", "bounded"), ("distillation", "[kl, squared_p]")]
)
def test_regression_has_no_probabilities_to_correct(field: str, value: str) -> None:
    spec = tiny("data={name: diabetes}", f"space.{field}={value}")
    with pytest.raises(SpecError, match=rf"space\.{field} is '\w+'.*regression.*remove"):
        resolve(spec, load_dataset(spec.data, 0))


def test_regression_has_no_temperature() -> None:
    for value in ("2", "{low: 1, high: 4}"):
        spec = tiny("data={name: diabetes}", f"space.temperature={value}")
        with pytest.raises(SpecError, match=r"space\.temperature is [12].*remove"):
            resolve(spec, load_dataset(spec.data, 0))


@pytest.mark.parametrize("correction", ["null", "none", "orthogonal", "[none, orthogonal]"])
def test_a_bound_of_no_correction_is_refused(correction: str) -> None:
    spec = tiny("space.correction_bound=0.01", f"space.correction={correction}")
    with pytest.raises(SpecError, match=r"correction_bound is 0\.01.*no effect.*remove"):
        resolve(spec, load_dataset(spec.data, 0))


@pytest.mark.parametrize("correction", ["minimax_power", "[none, bounded]"])
def test_a_bound_of_a_correction_is_taken(correction: str) -> None:
    spec = tiny("space.correction_bound=0.01", f"space.correction={correction}")
    assert resolve(spec, load_dataset(spec.data, 0)).space.correction_bound == 0.01


@pytest.mark.parametrize("value", ["0", "[0.1, -1]", "{low: 0, high: 1}"])
def test_a_bound_is_positive(value: str) -> None:
    with pytest.raises(SpecError, match=r"space\.correction_bound.*should be greater than 0"):
        tiny(f"space.correction_bound={value}")


def test_an_unknown_correction_is_refused() -> None:
    with pytest.raises(SpecError, match=r"space\.correction"):
        tiny("space.correction=minimal")
