"""Cascades: who answers, what it costs and how long it takes, against arithmetic by hand."""

from __future__ import annotations

import copy
from pathlib import Path

import pandas as pd
import pytest
import torch
from rival_contest import contest_of
from tiny import tiny
from torch import Tensor, nn

from bdistil.core.examples import Examples
from bdistil.errors import SearchError
from bdistil.experiments import comparison
from bdistil.experiments.clock import Shares, clocked
from bdistil.experiments.design import IN_CASCADE, METHOD
from bdistil.experiments.execute import make_run, make_teacher
from bdistil.experiments.plan import Plan
from bdistil.experiments.rivals.cascade import Chain, best_cascades, cascade
from bdistil.experiments.rivals.contest import Contest, Entry

LIKELY = torch.tensor([[5.0, 0], [0, 0.1], [0.2, 0], [0, 5.0]])


def entry(logits: Tensor, flops: int, streamed: int | None = None) -> Entry:
    network = nn.Linear(3, 2)
    return Entry(flops, logits, logits, 10 * flops, 1.0, streamed or flops, network)


def test_who_is_not_sure_goes_on_and_pays_for_both() -> None:
    first, second, teacher = entry(LIKELY, 10), entry(-LIKELY, 100), entry(LIKELY, 1000)
    chain = Chain((first, second), teacher, separate=True)
    left = chain.left(chain.sure("test"), 0.9)
    assert left.tolist() == [0, 2, 2, 0]
    assert chain.paid.tolist() == [10, 110, 1110]
    assert chain.answers("test", left).tolist() == LIKELY.tolist()
    assert chain.parameters == 1100
    timed = chain.timed(left)
    assert timed is not None
    assert [share for share, _ in timed.parts] == [1, 0.5, 0.5]


def test_stages_go_on_from_one_another() -> None:
    stages = entry(LIKELY, 10), entry(LIKELY, 18, 25), entry(LIKELY, 30, 48)
    teacher = entry(-LIKELY, 1000)
    assert Chain(stages[1:2], None, separate=False).paid.tolist() == [18]  # straight there
    assert Chain(stages[1:2], teacher, separate=False).paid.tolist() == [18, 1018]
    chain = Chain((stages[0], stages[2]), teacher, separate=False)
    assert chain.paid.tolist() == [10, 48, 1048]
    assert chain.parameters == 300
    left = chain.left(chain.sure("test"), 0.9)
    timed = chain.timed(left)
    assert timed is not None
    networks = (stages[0].runs, stages[2].runs, teacher.runs)
    assert list(timed.parts) == list(zip([0.5] * 3, networks, strict=True))


def test_an_unknown_network_has_no_time() -> None:
    teacher = Entry(1000, LIKELY, LIKELY, 0, 0.0, 1000)
    chain = Chain((entry(LIKELY, 10),), teacher, separate=True)
    assert chain.timed(torch.tensor([0, 1, 1, 0])) is None
    assert chain.timed(torch.tensor([0, 0, 0, 0])) is not None


def test_shares_of_networks_take_their_shares_of_the_time() -> None:
    small, large = nn.Linear(8, 3), nn.Sequential(*[nn.Linear(8, 8) for _ in range(60)])
    alone, both, none = clocked([small, Shares(((1.0, small), (0.5, large))), None], large, (8,))
    assert none == {}
    half = both["latency_ratio"] - alone["latency_ratio"]
    assert half == pytest.approx(0.5, abs=0.15)


@pytest.fixture(scope="module")
def contest(tmp_path_factory: pytest.TempPathFactory) -> Contest:
    return contest_of(tmp_path_factory, "space.epochs=20", teacher=True)


def test_a_budget_between_two_models_is_spent_on_the_unsure(contest: Contest) -> None:
    """The second model is always right, the first where it is sure: half of the examples."""
    labels = torch.arange(200) % 2
    right = nn.functional.one_hot(labels, 2).float() * 9
    unsure = torch.arange(200) % 4 >= 2
    first = torch.where(unsure[:, None], 0.1 * right.flip(1), right)
    made = copy.copy(contest)
    made.teacher_flops = None
    made.__dict__["budgets"] = [10.0, 60.0, 110.0]
    made.validation = made.test = Examples.before_round_one(torch.zeros(200, 3), right, labels)
    found = best_cascades(made, [entry(first, 10), entry(right, 100)], 7.0, separate=True)
    assert [made.measure.accuracy(each.test, made.test) for each in found] == [0.5, 1, 1]
    assert [each.flops for each in found] == [10, 60, 100]  # as right for all, and surer
    assert [each.trained for each in found] == [7.0] * 3


def test_budgets_below_every_model_are_left_out(contest: Contest) -> None:
    made = copy.copy(contest)
    logits = contest.validation.teacher_logits
    model = Entry(100, logits, contest.test.teacher_logits, 1, 1.0, 100, nn.Linear(1, 1))
    made.__dict__["budgets"] = [10.0, 100.0]
    assert [each.flops for each in best_cascades(made, [model], 1.0, separate=False)] == [100]
    made.__dict__["budgets"] = [10.0, 99.0]
    with pytest.raises(SearchError, match="every model of the cascade costs more"):
        best_cascades(made, [model], 1.0, separate=False)


def test_larger_budgets_answer_better_on_validation(contest: Contest) -> None:
    entries = cascade(contest)
    metrics = [contest.measure.accuracy(each.validation, contest.validation) for each in entries]
    assert metrics == sorted(metrics)
    richer = copy.copy(contest)
    richer.__dict__["budgets"] = [*contest.budgets[:2], 2.0 * (contest.teacher_flops or 0)]
    all_asked = cascade(richer)[-1]
    teacher = contest.measure.accuracy(contest.validation.teacher_logits, contest.validation)
    found = contest.measure.accuracy(all_asked.validation, contest.validation)
    assert found >= teacher
    assert all_asked.runs is not None


def test_a_regression_is_never_unsure(tmp_path_factory: pytest.TempPathFactory) -> None:
    contest = contest_of(tmp_path_factory, "data={name: diabetes}")
    with pytest.raises(SearchError, match=r"this task \(regression\) do not say"):
        cascade(contest)


def test_our_stages_in_a_cascade_are_those_of_the_search(tmp_path: Path) -> None:
    source = tiny("space.epochs=20", "space.growth=2", "search.rounds=3").model_dump(mode="json")
    methods = ["ours", "oracle", IN_CASCADE, "cascade"]
    plan = Plan.of("comparison", "?", [source], [], [{METHOD: name} for name in methods])
    runs = plan.runs([0])
    make_teacher(runs[0], tmp_path)
    ours, oracle, mean, separate = (make_run(run, tmp_path) for run in runs)
    assert [ours.failed, mean.failed, separate.failed] == [""] * 3
    assert mean.stages[0]["metric"] == ours.stages[0]["metric"]  # the first budget has no choice
    assert mean.stages[0]["flops"] == ours.stages[0]["flops"]
    assert separate.stages[0]["metric"] == oracle.stages[0]["metric"]
    assert mean.teacher == ours.teacher
    assert all(stage["latency"] > 0 for each in (mean, separate) for stage in each.stages)


def test_budgets_in_the_mean_are_not_beside_those_of_every_example() -> None:
    cells = [f"method={name}" for name in ("ours", "oracle", "average", "cascade", IN_CASCADE)]
    table = pd.DataFrame({"cell": cells})
    assert list(comparison.within_budgets(table).cell) == cells[:3]
    assert list(comparison.in_the_mean(table).cell) == [*cells[:2], *cells[3:]]
    assert comparison.in_the_mean(table[:3]).empty
