"""A search's goal: what is planned, what ends it, and a limit that is kept."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from records import record
from reporters import Heard
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score
from tiny import tiny

from bdistil.cluster.launch import launch_search
from bdistil.core.tensors import as_tensor
from bdistil.data.standardise import standardised
from bdistil.datasets.catalogue import load_dataset
from bdistil.errors import SpecError
from bdistil.names import GOAL_METRICS
from bdistil.runs.run_directory import RunDirectory
from bdistil.searching.cost_limits import CostLimits, Costs
from bdistil.searching.goal import Goal, goal_of
from bdistil.searching.goal_metric import teacher_score
from bdistil.searching.resolve import resolve
from bdistil.searching.stage_plan import GROWTH, MOST_STAGES, stages_within
from bdistil.spec import load_spec

HERE = "workers.count=0"


@given(room=st.floats(1, 1e6))
def test_stages_grow_by_no_more_than_the_rule_wants_until_there_are_most(room: float) -> None:
    stages = stages_within(room, GROWTH)
    assert 2 <= stages <= MOST_STAGES
    if stages < MOST_STAGES:
        assert room ** (1 / (stages - 1)) <= GROWTH * (1 + 1e-9)


def goal(**changes: object) -> Goal:
    return Goal(
        **{  # type: ignore[arg-type]
            "keep": 0.9,
            "teacher_metric": 0.8,
            "examples": 100,
            "counts": True,
            "limits": CostLimits(1000.0, 100.0),
        }
        | changes
    )


def test_a_standard_error_of_the_validation_split_is_left_over() -> None:
    assert goal().wanted == pytest.approx(0.72 + math.sqrt(0.72 * 0.28 / 100))
    assert goal(counts=False).wanted == pytest.approx(0.72)
    assert goal(keep=None).wanted is None


@given(keep=st.floats(0.5, 1), teacher_metric=st.floats(0.01, 1), examples=st.integers(1, 100_000))
def test_as_good_as_the_teacher_is_always_enough(
    keep: float, teacher_metric: float, examples: int
) -> None:
    wanted = goal(keep=keep, teacher_metric=teacher_metric, examples=examples).wanted
    assert wanted is not None
    assert keep * teacher_metric <= wanted <= teacher_metric


def test_a_goal_beyond_all_of_the_examples_is_that_of_the_teacher() -> None:
    perfect = goal(keep=0.99, teacher_metric=1.0, examples=36)
    accepted = record(1)
    result = accepted.result.model_copy(update={"metric": 1.0})
    ended = perfect.end(accepted.model_copy(update={"result": result}), Costs(10, 1), Costs(20, 1))
    assert ended is not None
    assert ended.end == "goal"
    assert ended.reason.endswith(
        "enough is the teacher's own 1.0000, as 36 validation examples cannot tell 0.99 of it"
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "enough are 0.9 of it and a standard error, 0.7649"),
        ({"counts": False}, "enough are 0.9 of it, 0.7200"),
        ({"keep": 1.0}, "enough is the teacher's own 0.8000"),
        ({"keep": 1.1, "counts": False}, "enough are 1.1 of it, 0.8800"),
    ],
)
def test_what_is_enough_is_said_as_it_is(changes: dict[str, object], said: str) -> None:
    assert goal(**changes).told_wanted() == said


def test_a_goal_that_the_rounds_do_not_reach_is_told(tmp_path: Path) -> None:
    heard = Heard()
    spec = tiny(HERE, "goal.keep=200%", "search.rounds=1", "space.epochs=1", "space.ladder=[1]")
    result = launch_search(spec, tmp_path / "run", reporter=heard)
    assert result.ended is not None
    assert result.ended.end == "rounds"
    assert "no more students are allowed (search.rounds); enough are 2 of it" in heard.said
    again = launch_search(spec, tmp_path / "run")
    assert (again.ended, len(again.rounds)) == (result.ended, 1)


@pytest.mark.parametrize(
    ("metric", "used", "end", "reason"),
    [
        (0.76, (10, 1), None, ""),
        (0.77, (10, 1), "goal", "enough"),
        (0.1, (980, 95), None, ""),
        (0.1, (981, 95), "cost", "uses 981 of the 1,000 FLOPs allowed"),
        (0.1, (980, 96), "cost", "uses 96 of the 100 parameters allowed"),
    ],
)
def test_what_ends_a_search(
    metric: float, used: tuple[int, int], end: str | None, reason: str
) -> None:
    accepted = record(3)
    result = accepted.result.model_copy(update={"metric": metric})
    accepted = accepted.model_copy(update={"result": result})
    ended = goal().end(accepted, Costs(*used), Costs(20, 5))
    assert (None if ended is None else ended.end) == end
    last = goal().end(accepted, Costs(*used), Costs(20, 5), rounds=3)
    assert last is not None
    assert last.end == (end or "rounds")
    assert ended is None or reason in ended.reason


def test_shares_are_written_as_people_write_them() -> None:
    spec = load_spec({"data": {"name": "cube"}}, ["goal.keep=99%", "goal.within=.5"])
    assert spec.goal is not None
    assert (spec.goal.keep, spec.goal.within) == (0.99, 0.5)
    with pytest.raises(SpecError, match=r"goal.keep: must be a share such as 0.5 or 50%, not 'x%'"):
        load_spec({"data": {"name": "cube"}}, ["goal.keep=x%"])


def test_stages_are_planned_from_the_first_students_cost_to_the_limit() -> None:
    spec = tiny("goal.within=50%", "search.rounds=null", "space.ladder=[1]")
    dataset = load_dataset(spec.data, 0)
    planned = resolve(spec, dataset)
    teacher, first = 2 * (16 * 16 + 16 * 4), 2 * (16 + 4)
    rounds, growth = planned.search.rounds, planned.space.growth
    assert rounds is not None
    assert growth is not None
    assert first * growth ** (rounds - 1) == pytest.approx(teacher / 2)
    kept = resolve(tiny("goal.within=50%", "space.growth=2", "search.rounds=3"), dataset)
    assert (kept.search.rounds, kept.space.growth) == (3, 2)


@pytest.mark.parametrize("algorithm", ["grid", "random"])
def test_what_was_planned_can_be_read_again(algorithm: str, tmp_path: Path) -> None:
    lists = ("space.lr=null", "space.gamma=[8, 16]", "search.rounds=null")
    spec = tiny("goal.within=50%", f"search.algorithm={algorithm}", *lists)
    planned = resolve(spec, load_dataset(spec.data, 0))
    assert (planned.space.lr is None) == (algorithm == "grid")
    (tmp_path / "spec.yaml").write_text(planned.to_yaml())
    assert load_spec(tmp_path / "spec.yaml") == planned


def test_a_grid_searches_up_to_a_goal(tmp_path: Path) -> None:
    lists = ("space.lr=null", "space.connection=[none, dense]", "search.algorithm=grid")
    spec = tiny("goal.within=80%", "search.rounds=null", "space.ladder=[1]", HERE, *lists)
    done = launch_search(spec, tmp_path / "run")
    assert done.rounds
    assert RunDirectory.existing(tmp_path / "run").spec().space.lr is None


def test_a_limit_below_the_first_student_is_refused_with_the_arithmetic() -> None:
    spec = tiny("goal.within=1%", "search.rounds=null")
    with pytest.raises(SpecError, match=r"of the teacher's 640 FLOPs is less than the first"):
        resolve(spec, load_dataset(spec.data, 0))


def test_a_class_that_cannot_be_reached_is_refused_with_the_arithmetic() -> None:
    spec = tiny("search.tries_per_class=4", "search.trials_per_round=8", "space.ladder=[2, 3, 4]")
    with pytest.raises(SpecError, match=r"reaches 2 of the 3 classes .* raise the first to 12"):
        resolve(spec, load_dataset(spec.data, 0))


def test_the_limit_holds_for_every_class_and_the_end_is_kept(tmp_path: Path) -> None:
    spec = tiny(HERE, "goal.within=60%", "search.rounds=null", "space.ladder=[2, 8]")
    result = launch_search(spec, tmp_path / "run")
    assert all(stage.flops <= 0.6 * 640 for stage in result.evaluation.stages)
    ended = RunDirectory(tmp_path / "run").journal.end()
    assert ended is not None
    assert ended.end == "cost"
    assert "FLOPs allowed" in ended.reason
    journal = (tmp_path / "run" / "rounds.jsonl").read_bytes()
    again = launch_search(spec, tmp_path / "run")  # nothing is left to do
    assert again.complete
    assert (tmp_path / "run" / "rounds.jsonl").read_bytes() == journal


def test_a_run_that_was_cut_before_its_end_was_written_ends_as_it_would_have(
    tmp_path: Path,
) -> None:
    spec = tiny(HERE, "goal.keep=10%")
    launch_search(spec, tmp_path / "run")
    file = tmp_path / "run" / "rounds.jsonl"
    whole = file.read_bytes()
    *rounds, ended = whole.splitlines(keepends=True)
    assert b'"end":"goal"' in ended
    file.write_bytes(b"".join(rounds) + ended[:9])
    launch_search(spec, tmp_path / "run")
    assert file.read_bytes() == whole


def test_a_teacher_whose_cost_is_not_known_sets_no_limit_and_that_is_said(tmp_path: Path) -> None:
    heard = Heard()
    forest = "sklearn.ensemble:RandomForestClassifier"
    spec = tiny(
        HERE,
        f"teacher={{model: '{forest}', options: {{n_estimators: 3}}}}",
        "goal={keep: 1%, within: 50%}",
    )
    launch_search(spec, tmp_path / "run", reporter=heard)
    assert any(
        "FLOPs are not known, so goal.within=0.5 sets no limit" in text for text in heard.messages
    )


@pytest.mark.parametrize("metric", ["balanced_accuracy", "macro_f1", "auc"])
def test_a_goal_can_be_about_another_metric(metric: str, tmp_path: Path) -> None:
    """On rare classes accuracy is reached by whoever leaves them out."""
    random = np.random.default_rng(0)
    y = (random.random(400) < 0.1).astype(int)
    x = random.normal(size=(400, 4)).astype(np.float32) + 2 * y[:, None]
    np.savez(tmp_path / "rare.npz", x=x, y=y)
    spec = tiny(
        HERE,
        f"data={{path: {tmp_path / 'rare.npz'}}}",
        f"goal={{keep: 0.9, metric: {metric}}}",
        "search={rounds: 3, tries_per_class: 2, select: best}",
        "teacher.epochs=30",
    )
    heard = Heard()
    run = launch_search(spec, tmp_path / "run", reporter=heard)
    stages = [text for text in heard.messages if text.startswith("stage ")]
    assert len(stages) == len(run.students)
    assert all(f": {GOAL_METRICS[metric][0]} " in text for text in stages)  # type: ignore[index]
    dataset, logits = run.dataset, run.run.teacher.logits()["validation"]
    truth = dataset.validation.y
    theirs = {
        "balanced_accuracy": lambda found: balanced_accuracy_score(truth, found.argmax(1)),
        "macro_f1": lambda found: f1_score(truth, found.argmax(1), average="macro"),
        "auc": lambda found: roc_auc_score(truth, found[:, 1] - found[:, 0]),
    }[metric]
    inputs = as_tensor(standardised(dataset, dataset.validation))
    with torch.no_grad():
        scored = [theirs(stage.numpy()) for stage in run.students.stages(inputs)]
    teacher, error = teacher_score(logits, truth, "classification", metric)  # type: ignore[arg-type]
    assert teacher == pytest.approx(theirs(logits))
    assert 0 <= error < 0.3
    wanted = min(0.9 * teacher + error, teacher)
    reached = [stage for stage, score in enumerate(scored, start=1) if score >= wanted]
    ended = run.ended
    if reached:
        assert ended is not None
        assert ended.end == "goal"
        assert len(scored) == reached[0]
        assert GOAL_METRICS[metric][0] in ended.reason  # type: ignore[index]
    else:
        assert ended is None or ended.end != "goal"


@pytest.mark.parametrize("people", [1, 4])
def test_people_that_are_asked_more_than_once_count_once(people: int, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    own, y = random.integers(people, size=400) + 10, random.integers(2, size=400)
    x = random.normal(size=400) + y * np.where(own % 2, 6.0, 0.5)  # some are easier to tell
    own[:200], own[350:] = random.integers(5, size=200), 99
    part = np.repeat(["train", "validation", "test"], [200, 150, 50])
    frame = pd.DataFrame({"x": x, "who": own, "part": part, "label": y})
    frame.to_parquet(tmp_path / "people.parquet")
    spec = tiny(
        HERE,
        f"data={{path: {tmp_path / 'people.parquet'}, group: who, split: part}}",
        "goal={keep: 0.5}",
        "search={rounds: 3, tries_per_class: 1}",
        "teacher.epochs=20",
    )
    heard = Heard()
    result = launch_search(spec, tmp_path / "run", reporter=heard)
    run, dataset, logits = result.run, result.dataset, result.run.teacher.logits()
    goal = goal_of(run.spec(), run, dataset, logits, heard)  # type: ignore[arg-type]
    assert goal is not None
    if people == 1:
        assert any("a single group of data.group cannot tell" in text for text in heard.messages)
        assert goal.wanted is None
        assert result.ended is None or result.ended.end != "goal"
        return
    right = logits["validation"].argmax(axis=1) == dataset.validation.y
    drawn = np.random.default_rng(1).integers(4, size=(4_000, 4))
    each = [right[dataset.validation.groups == who] for who in np.unique(dataset.validation.groups)]
    means = [np.concatenate([each[who] for who in draw]).mean() for draw in drawn]
    assert goal.error == pytest.approx(np.std(means), rel=0.1)
    assert goal.error > 1.3 * right.std() / math.sqrt(len(right))


def test_a_metric_that_the_task_has_not_is_refused() -> None:
    spec = load_spec({"data": {"name": "diabetes"}, "goal": {"keep": 0.9, "metric": "auc"}})
    with pytest.raises(SpecError, match=r"goal.metric is 'auc', which regression has not"):
        resolve(spec, load_dataset(spec.data, 0))
    with pytest.raises(SpecError, match=r"goal\.metric is 'f2'"):
        load_spec({"data": {"name": "digits"}, "goal": {"keep": 0.9, "metric": "f2"}})


def test_a_teacher_worse_than_the_mean_has_no_share_that_is_enough(tmp_path: Path) -> None:
    """Of R² = -2, 99% are -1.98, which a student that has learnt nothing is above."""
    random = np.random.default_rng(0)
    x, y = random.normal(size=(300, 3)), random.normal(size=300)
    frame = pd.DataFrame(x, columns=["a", "b", "c"]).assign(y=y, answer=-3 * y)
    frame.to_csv(tmp_path / "wrong.csv", index=False)
    spec = tiny(
        HERE,
        f"data={{path: {tmp_path / 'wrong.csv'}, label: y}}",
        "teacher={columns: [answer]}",
        "goal={keep: 0.99, within: 5000}",
        "search={rounds: 3, tries_per_class: 1}",
    )
    heard = Heard()
    result = launch_search(spec, tmp_path / "run", reporter=heard)
    assert any("of which goal.keep can be no share" in text for text in heard.messages)
    assert result.ended is None or result.ended.end != "goal"


@pytest.mark.parametrize(("keep", "told"), [(1.0, False), (90.0, True)])
def test_more_than_anything_has_is_told_to_be_no_goal(
    keep: float, told: bool, tmp_path: Path
) -> None:
    spec = tiny(HERE, f"goal={{keep: {keep}, within: 60%}}", "search={rounds: 1}")
    heard = Heard()
    launch_search(spec, tmp_path / "run", reporter=heard)
    assert any(", more than anything has, so" in text for text in heard.messages) == told


@pytest.mark.parametrize("teacher", [0.0, -2.0])
def test_a_cost_that_ends_a_search_says_the_metric_where_there_is_no_share_of_it(
    teacher: float,
) -> None:
    accepted = record(3)
    result = accepted.result.model_copy(update={"metric": -0.5})
    accepted = accepted.model_copy(update={"result": result})
    end = goal(keep=None, teacher_metric=teacher).end(accepted, Costs(981, 1), Costs(20, 1))
    assert end is not None
    assert end.reason.startswith("stage 3 has a metric of -0.5000 on validation and uses 981 of")
