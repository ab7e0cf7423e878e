"""A limit of parameters: planned by, kept by every stage, and told."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.numpy import load_file
from test_time_limit import answers_alone
from tiny import tiny

from bdistil.cluster.launch import launch_search
from bdistil.core.cost import parameters
from bdistil.core.folding import FoldedPrefix
from bdistil.datasets.catalogue import load_dataset
from bdistil.errors import SpecError
from bdistil.searching.candidates import Candidates
from bdistil.searching.cost_limits import NO_LIMITS, CostLimits, Costs, costs_of
from bdistil.searching.resolve import resolve
from bdistil.spec import GoalSpec, load_spec

HERE = "workers.count=0"
INPUTS, CLASSES = 16, 4  # of the cube
TEACHER = INPUTS * 16 + 16 + 16 * CLASSES + CLASSES  # parameters of `tiny`, with biases


def of_width(width: int) -> int:
    """Parameters of a first student: a layer, its bias, and the head with its own."""
    return INPUTS * width + width + width * CLASSES + CLASSES


@pytest.mark.parametrize("connection", ["none", "dense", "residual", "gru", "lstm"])
def test_folded_parameters_are_those_of_the_folded_network(connection: str, tmp_path: Path) -> None:
    spec = tiny(HERE, f"space.connection={connection}", "search.rounds=3")
    result = launch_search(spec, tmp_path / "run")
    ensemble = result.students
    counted = costs_of(ensemble, (INPUTS,)).parameters
    assert counted == parameters(FoldedPrefix(ensemble, len(ensemble)))
    assert counted == result.evaluation.stages[-1].parameters
    if connection == "none":
        widths = [student.config.width for student in ensemble]
        assert counted == sum(of_width(width) - CLASSES for width in widths) + CLASSES


@pytest.mark.parametrize("most", ["40%", str(int(0.4 * TEACHER))])
def test_no_stage_has_more_and_the_end_says_why(most: str, tmp_path: Path) -> None:
    goal = f"goal={{within_parameters: {most}}}"
    spec = tiny(HERE, goal, "search.rounds=null", "space.ladder=[2, 8]", "search.fallback=best")
    result = launch_search(spec, tmp_path / "run")
    stages = [stage.parameters for stage in result.evaluation.stages]
    assert stages
    assert max(stages) <= 0.4 * TEACHER
    assert result.evaluation.teacher.parameters == TEACHER
    assert result.ended is not None
    assert result.ended.end == "cost"
    assert f"uses {stages[-1]:,} of the {0.4 * TEACHER:,.0f} parameters allowed" in (
        result.ended.reason
    )
    stored = load_file(tmp_path / "run" / "ensemble" / "model.safetensors")
    heads = sum(array.size for name, array in stored.items() if ".head." in name)
    bodies = sum(array.size for name, array in stored.items() if name.startswith("students."))
    assert bodies - heads < stages[-1]  # the rest is one head instead of several


def test_stages_are_planned_up_to_the_limit() -> None:
    spec = tiny(f"goal.within_parameters={of_width(8)}", "search.rounds=null", "space.ladder=[1]")
    planned = resolve(spec, load_dataset(spec.data, 0))
    rounds, growth = planned.search.rounds, planned.space.growth
    assert rounds is not None
    assert growth is not None
    assert growth ** (rounds - 1) == pytest.approx(8)  # a width of 8 costs 8 times the FLOPs
    assert planned.goal == spec.goal
    asked = tiny(f"goal.within_parameters={of_width(8)}", "goal.within=15%", "search.rounds=null",
                 "space.ladder=[1]")  # fmt: skip
    planned = resolve(asked, load_dataset(asked.data, 0))
    assert planned.space.growth is not None
    assert planned.search.rounds is not None
    room = planned.space.growth ** (planned.search.rounds - 1)
    assert room == pytest.approx(0.15 * 640 / 40)  # the tighter one rules


def test_a_number_of_students_and_a_goal_spread_the_students_up_to_the_limit() -> None:
    spec = tiny("goal={keep: 99%, within: 50%}", "search.rounds=4", "space.ladder=[1]")
    planned = resolve(spec, load_dataset(spec.data, 0))
    assert planned.search.rounds == 4
    assert planned.space.growth == pytest.approx((0.5 * 640 / 40) ** (1 / 3))


def test_a_share_of_what_nobody_can_count_is_refused_and_a_number_is_not(tmp_path: Path) -> None:
    spec = answers_alone(tmp_path, "goal.within_parameters=25%")
    dataset = load_dataset(spec.data, 0, spec.teacher.columns)
    with pytest.raises(SpecError, match=r"nobody can count .*\(columns\); give a number"):
        resolve(spec, dataset)
    stages = ("space.growth=2", "search.rounds=3")
    planned = answers_alone(tmp_path, "goal.within_parameters=.25", *stages)
    with pytest.raises(SpecError, match=r"nobody can count .*\(columns\); give a number"):
        launch_search(planned, tmp_path / "planned")
    counted = answers_alone(tmp_path, "goal={within: 60, within_parameters: 30}")
    result = launch_search(counted, tmp_path / "run")
    assert max(stage.parameters for stage in result.evaluation.stages) <= 30
    assert max(stage.flops for stage in result.evaluation.stages) <= 60


@pytest.mark.parametrize(
    ("goal", "told"),
    [
        ("within_parameters: 40", r"within_parameters=40 parameters is less than .* student's 46;"),
        ("within_parameters: 10%", r"within_parameters=0.1 of the teacher's 340 parameters is"),
        ("within: 79", r"goal.within=79 FLOPs is less than the first student's 80; raise it"),
    ],
)
def test_less_than_the_first_student_is_refused_with_the_arithmetic(goal: str, told: str) -> None:
    spec = tiny(f"goal={{{goal}}}", "space.ladder=[2]")
    with pytest.raises(SpecError, match=told):
        resolve(spec, load_dataset(spec.data, 0))


def test_a_limit_that_one_student_uses_up_ends_after_it(tmp_path: Path) -> None:
    goal = f"goal.within_parameters={of_width(2)}"
    spec = tiny(HERE, goal, "space={ladder: [2], epochs: 4}", "search.fallback=best")
    result = launch_search(spec, tmp_path / "run")
    assert [stage.parameters for stage in result.evaluation.stages] == [of_width(2)]


def test_a_candidate_that_no_width_made_small_enough_is_not_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Candidates, "width", lambda *_: 5)
    goal = f"goal.within_parameters={of_width(5) + of_width(5) - CLASSES - 1}"
    spec = tiny(HERE, goal, "space={ladder: [2], epochs: 4, connection: none}", "search.rounds=4")
    result = launch_search(spec, tmp_path / "run")
    assert [stage.parameters for stage in result.evaluation.stages] == [of_width(5)]
    assert result.ended is not None
    assert "the best candidate for stage 2 would bring it to 214 parameters" in result.ended.reason
    assert "more than the 213 of goal.within_parameters" in result.ended.reason


def test_limits_in_words() -> None:
    limits = CostLimits(None, 100)
    assert limits.exceeded_by(Costs(10**9, 100)) == []
    assert limits.exceeded_by(Costs(0, 101)) == ["parameters"]
    assert not NO_LIMITS
    assert CostLimits(1000, 20).told() == "1,000 FLOPs and 20 parameters"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("25%", 0.25),
        (".5", 0.5),
        ("150%", 1.5),
        ("200%", 2.0),
        (1, 1),
        (2, 2),
        ("20000", 20000),
        (1.5, 1.5),
    ],
)
def test_amounts_are_written_as_people_write_them(given: object, kept: float) -> None:
    goal = GoalSpec(within_parameters=given, within=given)  # type: ignore[arg-type]
    for amount in (goal.within_parameters, goal.within):
        assert amount == kept
        assert type(amount) is type(kept)
    spec = load_spec({"data": {"name": "cube"}, "goal": goal.model_dump(mode="json")})
    again = GoalSpec.model_validate_json(goal.model_dump_json())
    assert (spec.goal, again) == (goal, goal)
    assert type(again.within) is type(kept)


@pytest.mark.parametrize("given", [0, -1, "x", "-5%", 20000.0, "2e4", "nan", [3], "12 MB"])
def test_what_is_no_amount_is_refused(given: object) -> None:
    with pytest.raises(SpecError, match=r"goal.within_parameters: must be a share .* or a whole"):
        load_spec({"data": {"name": "cube"}, "goal": {"within_parameters": given}})


def test_a_lower_limit_on_resuming_ends_the_search(tmp_path: Path) -> None:
    fixed = (HERE, "space.ladder=[2]", "space.growth=1.5", "search.fallback=best")
    begun = tiny(*fixed, "goal.within_parameters=300", "search.rounds=6")
    launch_search(begun, tmp_path / "run")
    file = tmp_path / "run" / "rounds.jsonl"
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:2]))
    lower = tiny(*fixed, "goal.within_parameters=47", "search.rounds=6")
    result = launch_search(lower, tmp_path / "run")
    assert len(result.rounds) == 2
    assert result.ended is not None
    assert "of the 47 parameters allowed" in result.ended.reason


def test_decided_limits_are_kept_when_a_search_goes_on(tmp_path: Path) -> None:
    """What was decided is in the run: neither stages nor FLOPs are planned anew."""
    goal = "goal={within_parameters: 60%, within_time: 1s}"
    shape = ("search.rounds=null", "space.ladder=[2]", "search.fallback=best")
    result = launch_search(tiny(HERE, goal, *shape), tmp_path / "run")
    stored = result.run.spec()
    file = tmp_path / "run" / "rounds.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole.splitlines(keepends=True)[0])
    again = launch_search(tiny(HERE, goal, *shape), tmp_path / "run")
    assert again.run.spec() == stored
    assert len(again.rounds) == len(result.rounds)
    assert again.ended == result.ended
    assert max(stage.parameters for stage in again.evaluation.stages) <= 0.6 * TEACHER
