"""The workbench: widths by the growth rule, repeatable students, stopping, settings."""

from __future__ import annotations

import itertools
import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bdistil.core import cohort, trainer
from bdistil.core.game import Summary
from bdistil.core.growth import folded_flops
from bdistil.core.step import StepLoss, step_loss
from bdistil.core.student import StudentConfig
from bdistil.errors import BdistilWarning
from bdistil.export.checkpoint import student_from_bytes
from bdistil.names import RECIPE_NAMES
from bdistil.runs.checkpoint import Checkpoint
from bdistil.runs.trial import Cohort, TrialAnswer, TrialRequest
from bdistil.searching import checkpointing
from bdistil.searching.announcement import Announcement
from bdistil.searching.candidates import resolved_recipe
from bdistil.searching.checkpointing import Saves
from bdistil.searching.cost_limits import stage_flops
from bdistil.searching.margin_shard import play_shard
from bdistil.searching.problem import Part, Problem
from bdistil.searching.resolve import comparison_measure, game_rules
from bdistil.searching.trial_runner import run_guarded
from bdistil.searching.workbench import Material, Workbench
from bdistil.spec import load_spec
from bdistil.zoo.registry import student_class

PIXELS, CLASSES = 64, 10


def part(rows: int, seed: int, shape: tuple[int, ...] = (PIXELS,)) -> Part:
    random = np.random.default_rng(seed)
    logits = random.normal(size=(rows, CLASSES)).astype(np.float32)
    return Part(
        random.normal(size=(rows, *shape)).astype(np.float32),
        logits - logits.mean(axis=1, keepdims=True),
        random.integers(0, CLASSES, rows),
    )


def workbench(*overrides: str, shape: tuple[int, ...] = (PIXELS,)) -> Workbench:
    space = {"student": "mlp", "ladder": [5, 10, 20], "recipe": "accurate"}
    source = {"data": {"name": "digits"}, "space": space}
    spec = load_spec(source, overrides)
    train = part(80, 0, shape)
    problem = Problem.of("classification", [train.teacher_logits], part(40, 1, shape))
    rules, measure = game_rules(spec, problem), comparison_measure(spec, problem)
    return Workbench(Material(problem, train.shards(), spec, rules, measure))


def request(number: int = 0, *, seed: int = 1, rung: int = 0, **params: Any) -> TrialRequest:
    values = {"recipe": "accurate", "student": "mlp", "epochs": 2} | params
    return TrialRequest(round=1, number=number, rung=rung, attempt=0, params=values, seed=seed)


def announced(bench: Workbench, students: list[bytes]) -> Announcement:
    """The round after `students`, as the driver would announce it."""
    rules = game_rules(bench.spec, bench.problem)
    summary, states = Summary.start(80, CLASSES), [None] * len(bench.material.train)
    sizes: list[int] = []
    for blob in students:
        student = student_from_bytes(blob, bench.problem.input_shape, CLASSES, sizes, "a student")
        sizes.append(student.features)
        pairs = list(zip(bench.material.train, states, strict=True))
        results = [play_shard(part, state, student, summary, rules) for part, state in pairs]
        states = [state for state, _ in results]
        summary = Summary.merged([shard.summary for _, shard in results])
    news = students[len(bench.ensemble) :]
    return Announcement(len(students) + 1, news, summary, states)


def opened(bench: Workbench, students: list[bytes] | None = None) -> Workbench:
    bench.open_round(announced(bench, students or []))
    return bench


def run(
    bench: Workbench, request: TrialRequest, should_stop: Any = lambda: False
) -> tuple[TrialAnswer, bytes | None]:
    [outcome] = bench.run(Cohort(requests=(request,)), should_stop)
    return outcome


def accept(bench: Workbench, width: int, connection: Any = "dense") -> None:
    bench.ensemble.append(bench.candidates.build(StudentConfig("mlp", width, connection, True)))


def widths(bench: Workbench, rounds: int, rung: int = 0) -> list[int]:
    """Widths of the first students if every round is won in class `rung` of the ladder."""
    found = []
    for _ in range(rounds):
        settings = resolved_recipe(request(rung=rung), bench.spec)
        found.append(bench.candidates.width("mlp", settings, rung))
        accept(bench, found[-1])
    return found


def test_widths_grow_as_counted_by_hand() -> None:
    # A unit of a dense MLP student costs 2·64 + 2·10 FLOPs, folded, in every round, so the sum of
    # the widths is the largest whole number below 5·1.25^(t-1): 5, 6, 7, 9, 12, 15, 19, 23, 29.
    bench = workbench()
    assert widths(bench, 9) == [5, 1, 1, 2, 3, 3, 4, 4, 6]
    assert stage_flops(bench.ensemble, (PIXELS,)) == [148 * w for w in [5, 1, 1, 2, 3, 3, 4, 4, 6]]


def test_larger_classes_scale_the_width() -> None:
    assert widths(workbench(), 1, rung=1) == [10]
    bench = workbench()
    for width in (5, 1, 1, 2):
        accept(bench, width)
    settings = resolved_recipe(request(), bench.spec)
    assert [bench.candidates.width("mlp", settings, rung) for rung in (0, 1, 2)] == [3, 6, 12]


def test_growth_of_the_spec_overrules_the_recipe_and_zero_means_equal_widths() -> None:
    assert widths(workbench("space.growth=2"), 4) == [5, 5, 10, 20]
    assert widths(workbench("space.growth=0"), 3) == [5, 5, 5]
    assert widths(workbench("space.growth=0"), 3, rung=2) == [20, 20, 20]


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
@settings(max_examples=12)
@given(
    first=st.integers(1, 12),
    growth=st.sampled_from([1.1, 1.25, 1.6, 2.0]),
    connections=st.lists(
        st.sampled_from(["none", "residual", "dense", "lstm", "gru"]), min_size=2, max_size=4
    ),
)
def test_a_stage_flops_no_more_than_growth_allows_and_no_wider_student_fits(
    kind: str, first: int, growth: float, connections: list[Any]
) -> None:
    shape = (1, 8, 8)
    bench = workbench(f"space.ladder=[{first}]", f"space.growth={growth}", shape=shape)

    def cost(width: int, connection: Any) -> int:
        student = bench.candidates.build(StudentConfig(kind, width, connection, True))
        return folded_flops(student, shape, bench.ensemble.features)

    for connection in connections:
        params = {"student": kind, "connection": connection}
        width = bench.candidates.width(kind, resolved_recipe(request(**params), bench.spec), 0)
        costs = stage_flops(bench.ensemble, shape)
        if costs:
            total = sum(costs)  # beyond the plan where width 1 was too much already
            budget = max(costs[0] * growth ** len(costs), total * growth) - total
            assert width == 1 or cost(width, connection) <= budget
            assert cost(width + 1, connection) > budget
        bench.ensemble.append(bench.candidates.build(StudentConfig(kind, width, connection, True)))


def test_equal_requests_give_equal_students_to_the_bit() -> None:
    result, weights = run(opened(workbench()), request())
    again, same = run(opened(workbench()), request())
    assert weights is not None
    assert weights == same
    assert again.model_copy(update={"seconds": 0.0}) == result.model_copy(update={"seconds": 0.0})
    assert result.status == "finished"
    assert (result.width, result.epochs, len(result.edges)) == (5, 2, CLASSES)


def test_what_a_worker_did_before_does_not_matter() -> None:
    bench = opened(workbench())
    run(bench, request(7, seed=99, epochs=3))
    after_others = run(bench, request())[1]
    assert after_others == run(opened(workbench()), request())[1]


def test_a_later_round_starts_from_the_accepted_students() -> None:
    first = run(opened(workbench()), request())[1]
    assert first is not None
    joined_late = opened(workbench(), [first])
    was_there = opened(workbench())
    run(was_there, request())
    opened(was_there, [first])
    answers = [run(bench, request(seed=2))[1] for bench in (joined_late, was_there)]
    assert answers[0] == answers[1]
    assert answers[0] != first


@pytest.mark.parametrize("change", [{"seed": 2}, {"lr": 0.5}, {"rung": 1}, {"connection": "gru"}])
def test_other_requests_give_other_students(change: dict[str, Any]) -> None:
    bench = opened(workbench())
    assert run(bench, request())[1] != run(bench, request(**change))[1]


@pytest.mark.parametrize("batches", [0, 1, 3])
def test_a_stopped_trial_leaves_no_weights(batches: int) -> None:
    answers = itertools.chain(itertools.repeat(False, batches), itertools.repeat(True))
    result, weights = run(opened(workbench()), request(), lambda: next(answers))
    assert result.status == "stopped"
    assert weights is None


@pytest.mark.parametrize("kind", ["of another schedule", "cut off", "of a cohort"])
def test_a_checkpoint_that_does_not_fit_is_told_and_training_starts_anew(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpointing, "SECONDS_BETWEEN", 0.0)
    kept: list[Checkpoint] = []
    others = [request(n, seed=n, connection="none") for n in range(2)]
    made_by = {"of another schedule": [request(1, connection="none", epochs=4)]}
    cohort_of = Cohort(requests=tuple(made_by.get(kind, others)))
    opened(workbench()).run(cohort_of, lambda: False, Saves(None, kept.append))
    content = kept[0].content[:100] if kind == "cut off" else kept[0].content
    saves = Saves(Checkpoint(1, content), lambda _: None)
    one = Cohort(requests=(others[0],))
    with pytest.warns(BdistilWarning, match=r"checkpoint of trial 0 of round 1 cannot be used \("):
        [(answer, weights)] = opened(workbench()).run(one, lambda: False, saves)
    expected, whole = run(opened(workbench()), others[0])
    assert weights == whole
    assert answer.loss == expected.loss


def test_a_cohort_is_its_members_on_the_same_batches() -> None:
    requests = [request(n, seed=n, lr=0.01 * (n + 1), connection="none") for n in range(3)]
    outcomes = opened(workbench()).run(Cohort(requests=tuple(requests)), lambda: False)
    assert [result.cohort for result, _ in outcomes] == [3, 3, 3]
    alone, _ = run(opened(workbench()), requests[0])
    assert alone.loss == pytest.approx(outcomes[0][0].loss, abs=1e-4)
    assert alone.cohort == 1
    assert len({blob for _, blob in outcomes}) == 3


def test_students_that_torch_cannot_stack_train_one_by_one() -> None:
    bench = workbench("space.student=gru", "space.ladder=[3]", shape=(6, 4))
    requests = [request(n, seed=n, student="gru") for n in range(2)]
    outcomes = opened(bench).run(Cohort(requests=tuple(requests)), lambda: False)
    assert [result.cohort for result, _ in outcomes] == [1, 1]
    fresh = opened(workbench("space.student=gru", "space.ladder=[3]", shape=(6, 4)))
    assert outcomes[1][1] == run(fresh, requests[1])[1]


def test_a_recipe_leaves_learning_rate_and_growth_to_the_student_class() -> None:
    for kind in ("mlp", "cnn", "gru"):
        settings = resolved_recipe(request(student=kind), load_spec({"data": {"name": "digits"}}))
        assert settings.lr == student_class(kind).lr
        assert settings.growth == student_class(kind).growth


def test_a_request_overrules_the_recipe_and_none_leaves_it() -> None:
    spec = load_spec({"data": {"name": "digits"}})
    settings = resolved_recipe(request(lr=0.3, gamma=7, skip=False, temperature=None), spec)
    assert (settings.lr, settings.gamma, settings.skip) == (0.3, 7, False)
    assert settings.temperature == 1.0
    assert resolved_recipe(request(recipe="faithful"), spec).growth == 0.0


def test_precision_is_the_searchs() -> None:
    spec = load_spec({"data": {"name": "digits"}}, ["search.precision=bf16"])
    assert resolved_recipe(request(), spec).precision == "bf16"
    exact, rounded = (
        run(opened(workbench(*o)), request()) for o in ([], ["search.precision=bf16"])
    )
    assert rounded[0].status == "finished"
    assert rounded[1] != exact[1]
    assert rounded[0].loss == pytest.approx(exact[0].loss, rel=0.05)


def test_compiling_is_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def loss_of_step(compiled: bool) -> StepLoss:
        asked.append(compiled)
        return step_loss

    for module in (trainer, cohort):
        monkeypatch.setattr(module, "loss_of_step", loss_of_step)
    bench = opened(workbench("workers.compile=true"))
    run(bench, request())
    bench.run(Cohort(requests=(request(0), request(1))), lambda: False)
    assert asked == [True, True]


def test_a_result_says_where_it_was_trained() -> None:
    assert run(opened(workbench()), request())[0].device == "cpu"
    bench = workbench()
    bench.device = torch.device("cuda")
    assert bench.place == "cuda, data in host memory"
    bench.home = bench.device
    assert bench.place == "cuda"


def test_growth_of_the_spec_comes_first() -> None:
    for growth in (0.0, 3.0):
        spec = load_spec(
            {"data": {"name": "digits"}, "space": {"recipe": "accurate", "growth": growth}}
        )
        for name in RECIPE_NAMES:
            assert resolved_recipe(request(recipe=name), spec).growth == growth


@pytest.mark.parametrize(
    "figures", [{"loss": math.nan}, {"edge": math.inf}, {"edges": (0.1, math.nan)}]
)
def test_a_candidate_whose_figures_are_no_numbers_has_failed(figures: dict[str, Any]) -> None:
    cohort = Cohort(requests=(request(),))
    outcome = TrialAnswer(status="finished", **figures)
    (answer,) = run_guarded(cohort, lambda: [(outcome, None)], lambda *kept: None)
    assert answer.status == "failed"
    assert re.fullmatch(r"its (loss|edge|edges) is (nan|inf); lower space\.lr", answer.reason)
