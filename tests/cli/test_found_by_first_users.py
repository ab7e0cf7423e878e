"""What the first users of goals by time, groups and known answers found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from reporters import Heard
from tiny import tiny

from bdistil.cluster.launch import launch_search
from bdistil.errors import SpecError
from bdistil.export.score_figures import score_answers
from bdistil.sklearn import BDistilClassifier
from bdistil.spec import load_spec

Command = Callable[..., Any]
QUICK = ("workers.count=0", "teacher.epochs=1", "space.epochs=1", "search.tries_per_class=1")


@pytest.mark.parametrize("given", ["2000", "101", 100.5, "inf", "1e999"])
def test_a_time_without_its_unit_is_no_share(given: str | float) -> None:
    with pytest.raises(SpecError, match=r"a duration such as 2ms, or auto, not "):
        load_spec({"data": {"name": "cube"}, "goal": {"within_time": given}})


def test_a_run_that_has_ended_says_so_to_another_goal(tmp_path: Path) -> None:
    spec = tiny("workers.count=0", "goal.keep=10%")
    launch_search(spec, tmp_path / "run")
    same, notes = Heard(), Heard()
    launch_search(spec, tmp_path / "run", reporter=same)
    assert any(text.startswith("It has ended: stage 1 has") for text in same.messages)
    assert not any("another goal" in text for text in same.messages)
    other = tiny("workers.count=0", "goal.keep=100%")
    again = launch_search(other, tmp_path / "run", reporter=notes)
    assert any("stays as it is, also for another goal" in text for text in notes.messages)
    goal = again.run.spec().goal
    assert goal is not None
    assert goal.keep == 0.1, "the run says what it was searched for"


@pytest.mark.parametrize("goal", ["goal.keep=10%", "goal=null"])
def test_a_run_that_is_over_is_not_measured_against_another_goal(tmp_path: Path, goal: str) -> None:
    spec = tiny("workers.count=0", "search.rounds=1", goal)
    launch_search(spec, tmp_path / "run")
    impossible = tiny("workers.count=0", "search.rounds=1", "goal.within_time=0.0001%")
    again = launch_search(impossible, tmp_path / "run").run.spec().goal
    assert (again and again.keep) == (spec.goal and spec.goal.keep)


def test_answers_that_are_known_are_taken_and_not_trained(bdistil: Command) -> None:
    x = np.random.default_rng(0).normal(size=(200, 2))
    yes = 1 / (1 + np.exp(-x[:, 0]))
    table = pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "y": x[:, 0] > 0, "no": 1 - yes, "yes": yes})
    table.assign(who=[f"s{row % 20}" for row in range(200)]).to_parquet("t.parquet")
    known = ("teacher.columns=['no', 'yes']", "teacher.outputs=probabilities", "data.group=who")
    answer = bdistil(
        "search", "--data", "t.parquet", "--label", "y", "--rounds", "1", *known, *QUICK
    )
    said = answer.printed + answer.errors
    assert answer.status == 0, said
    assert "Taking the teacher's answers from the data" in said
    assert "Training the teacher" not in said
    assert "over 40 test examples, drawn as 4 whole groups" in said
    report = Path("runs/t/report.html").read_text()
    assert "over the test examples, drawn as 4 whole groups" in report


@pytest.mark.parametrize(
    ("groups", "told"), [(None, None), ([3, 3, 3, 3], None), ([5, 5, 2, 9], 3)]
)
def test_figures_say_how_many_groups_are_drawn(groups: list[int] | None, told: int | None) -> None:
    logits, truth = np.eye(2, dtype=np.float32)[[0, 1, 1, 0]], np.array([0, 1, 0, 0])
    drawn = None if groups is None else np.array(groups)
    found = score_answers(logits, [logits], truth, "classification", [1, 1], None, drawn)
    assert found.groups == told


def test_overrides_of_an_estimator_are_a_dict() -> None:
    model = BDistilClassifier(overrides=["space.epochs=5"])  # type: ignore[arg-type]
    with pytest.raises(
        ValueError, match=r"overrides are a dict such as .*, not \['space.epochs=5'\]"
    ):
        model.fit([[0.0], [1.0]] * 20, [0, 1] * 20)
