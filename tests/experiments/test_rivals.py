"""The rivals: they keep to the budgets, get the same tries, and are what their names say."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from rival_contest import THREE_STAGES, contest_of
from tiny import tiny

from bdistil.cli import compare_command
from bdistil.cluster.launch import launch_search
from bdistil.core.find_weak_learner import Finding, find_weak_learner
from bdistil.datasets.catalogue import load_dataset
from bdistil.errors import SearchError
from bdistil.experiments import comparison, unknown_budget, write_up
from bdistil.experiments.figures import Figures
from bdistil.experiments.plan import Plan
from bdistil.experiments.rivals import methods
from bdistil.experiments.rivals.contest import Contest, Entry
from bdistil.experiments.rivals.early_exit import (
    Branched,
    branch_widths,
    exit_costs,
    first_width,
)
from bdistil.experiments.rivals.methods import RIVALS
from bdistil.searching.outcome import load_students
from bdistil.searching.resolve import resolve
from bdistil.teachers.obtain import game_logits

ALIKE = ("snapshot", "torchensemble")  # members are of one size, whatever the budgets


@pytest.fixture(scope="module")
def contest(tmp_path_factory: pytest.TempPathFactory) -> Contest:
    return contest_of(tmp_path_factory, teacher=True)


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory: pytest.TempPathFactory) -> Contest:
    return contest_of(tmp_path_factory, "search.cohort=2", "space.epochs=[5, 6, 7]")


@pytest.fixture(scope="module", params=RIVALS)
def rival(request: pytest.FixtureRequest, contest: Contest) -> tuple[str, list[Entry]]:
    torch.manual_seed(0)
    return request.param, RIVALS[request.param](contest)


def test_every_rival_answers_within_the_budgets(
    contest: Contest, rival: tuple[str, list[Entry]]
) -> None:
    name, entries = rival
    budgets = contest.budgets if name not in ALIKE else [contest.budgets[-1]] * 99
    at_own_costs = f"method={name}" in comparison.AT_OWN_COSTS
    for entry, budget in zip(entries, budgets, strict=False):
        assert entry.flops <= budget * 1.0001 or at_own_costs
        assert entry.test.shape == contest.test.teacher_logits.shape
        assert torch.isfinite(entry.validation).all()
        assert entry.parameters > 0
        assert entry.trained > 0
    if name not in ("single", *ALIKE) and not at_own_costs:
        assert len(entries) == contest.stages


def test_rivals_learn_something(contest: Contest, rival: tuple[str, list[Entry]]) -> None:
    name, entries = rival
    ends_in_the_teacher = f"method={name}" in comparison.AT_OWN_COSTS
    last = entries[0 if ends_in_the_teacher else -1]
    constant = contest.measure.best_constant([contest.train]).expand_as(last.validation)
    assert contest.loss(last) < contest.measure.loss(constant, contest.validation)


def test_the_same_contest_repeats_itself(contest: Contest) -> None:
    first, second = (RIVALS["bagging"](contest)[-1].test for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_an_average_is_the_mean_of_its_members(contest: Contest) -> None:
    members = [contest.fit(3, member) for member in (1, 2)]
    entries = contest.averaged(members)
    one, two = (contest.answers(member.student, contest.test) for member in members)
    torch.testing.assert_close(entries[1].test, (one + two) / 2)
    assert entries[1].flops == members[0].flops + members[1].flops


def test_the_best_candidate_on_validation_is_kept(contest: Contest) -> None:
    best = contest.fit(3, 1)
    losses = [alone(contest, candidate) for candidate in range(contest.candidates)]
    assert best.loss == pytest.approx(min(losses), abs=1e-6)
    assert best.trained == best.flops * 6 * contest.candidates


def alone(contest: Contest, candidate: int) -> float:
    """The loss of one candidate, trained as the contest trains it."""
    seed = contest.seeds(1)[candidate]
    torch.manual_seed(seed)
    student = contest.student(3)
    state = contest.state(contest.train)
    finding = find_weak_learner(student, state, contest.recipe(1, candidate), seed=seed)
    assert finding is not None
    entry = Entry(0, contest.answers(student, contest.validation), torch.empty(0), 0, 0, 0)
    assert contest.loss(entry) == pytest.approx(finding.loss, abs=1e-6)
    return finding.loss


def test_candidates_of_a_cohort_learn_what_they_would_alone(cohorts: Contest) -> None:
    seeds = cohorts.seeds(1)
    state = cohorts.state(cohorts.train)
    together, apart = (cohorts.members(3, 1, seeds) for _ in range(2))
    epochs = [member.recipe.epochs for member in together]
    assert epochs[0::2] == epochs[1::2]
    assert len({member.recipe.lr for member in together}) == len(together)
    leaders = [seeds[each - each % 2] for each in range(len(seeds))]
    found = cohorts.findings(together, state, seeds)
    for finding, member, seed in zip(found, apart, leaders, strict=True):
        expected = find_weak_learner(member.student, state, member.recipe, seed=seed)
        assert isinstance(finding, Finding)
        assert expected is not None
        assert finding.loss == pytest.approx(expected.loss, rel=1e-3)


@pytest.mark.parametrize("name", ["oracle", "snapshot"])
def test_rivals_in_cohorts_answer_every_budget(cohorts: Contest, name: str) -> None:
    entries = RIVALS[name](cohorts)
    assert cohorts.budgets[-1] / 2 < entries[-1].flops <= cohorts.budgets[-1]
    assert all(torch.isfinite(entry.test).all() for entry in entries)


def test_rivals_see_the_copies_that_the_search_has(
    contest: Contest, tmp_path_factory: pytest.TempPathFactory
) -> None:
    viewed = contest_of(tmp_path_factory, "data.views={copies: 2, noise: 0.3}")
    (shard,) = viewed.state().train.shards
    assert shard.views is not None
    assert shard.views.copies == 2
    assert viewed.state(viewed.train).train.shards[0].views is None  # rows drawn anew have none
    assert contest.state().train.shards[0].views is None
    ours, theirs = (RIVALS["single"](each)[0].test for each in (viewed, contest))
    assert not torch.equal(ours, theirs)


def test_each_born_again_student_has_the_one_before_as_teacher(
    contest: Contest, monkeypatch: pytest.MonkeyPatch
) -> None:
    teachers, fit = [], contest.fit

    def noted(width: int, member: int, examples=None, **named):  # type: ignore[no-untyped-def]
        trained = fit(width, member, examples, **named)
        taught_by = contest.train if examples is None else examples
        teachers.append((taught_by.teacher_logits, contest.answers(trained.student, contest.train)))
        return trained

    monkeypatch.setattr(contest, "fit", noted)
    methods.born_again(contest)
    assert torch.equal(teachers[0][0], contest.train.teacher_logits)
    for (_, answers), (teacher, _) in itertools.pairwise(teachers):
        assert torch.equal(answers, teacher)


def test_the_early_exits_cost_what_they_say(contest: Contest) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    first = contest.student(first_width(contest))
    widths = branch_widths(contest, first.features)
    network = Branched(first, 4, widths)
    with FlopCounterMode(display=False) as counter:
        answers = network(torch.zeros(1, 16))
    costs = exit_costs(contest, first.features, widths)
    assert counter.get_total_flops() == costs[-1]
    assert len(answers) == len(costs) == contest.stages


def test_the_early_exits_train_as_long_as_one_student_or_as_all(contest: Contest) -> None:
    epochs = sum(contest.recipe(1, each).epochs for each in range(contest.candidates))
    short, long = (RIVALS[name](contest)[-1] for name in ("early-exit", "early-exit-long"))
    assert short.trained == short.flops * epochs
    assert long.trained == short.trained * contest.stages


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("space.recipe=paper", "space.epochs=20"),
        ("search.cohort=2",),
        ("space.recipe=auto", "space.epochs=20"),
        ("space.recipe=auto", "space.epochs=20", "search.cohort=2"),
    ],
)
def test_all_methods_have_the_searchs_first_student(
    tmp_path_factory: pytest.TempPathFactory, overrides: tuple[str, ...]
) -> None:
    place = tmp_path_factory.mktemp("first")
    tries = ("search.tries_per_class=4", "search.select=best", "search.fallback=helpful")
    fixed = (*tries, "space.ladder=[3]", "search.rounds=1")
    spec = tiny("workers.count=0", *THREE_STAGES, *fixed, *overrides)
    run = launch_search(spec, place / "run").run
    dataset = load_dataset(spec.data, spec.seed)
    contest = Contest(resolve(spec, dataset), dataset, game_logits(run.teacher.logits()))
    ours = next(load_students(run, dataset).stages(contest.test.inputs)).detach()
    for name in ("oracle", "average", "single"):
        torch.testing.assert_close(RIVALS[name](contest)[0].test, ours, atol=1e-4, rtol=1e-4)


def test_a_reweighted_vote_of_one_is_that_student(contest: Contest) -> None:
    member = contest.fit(3, 1)
    [entry] = methods.voted(contest, [member], [2.0])
    expected = contest.answers(member.student, contest.test).log_softmax(dim=1)
    torch.testing.assert_close(entry.test, expected, atol=1e-5, rtol=0)


def test_a_vote_about_one_class_is_refused_where_there_is_none(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    contest = contest_of(tmp_path_factory, "data={name: diabetes}")
    with pytest.raises(SearchError, match=r"this task \(regression\) have not one each"):
        RIVALS["reweighted"](contest)


@pytest.mark.parametrize(("data", "has_it"), [("cube", True), ("diabetes", False)])
def test_by_default_rivals_fit_the_data(
    data: str,
    has_it: bool,
    tmp_path: Path,
    bdistil: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept: list[Plan] = []
    monkeypatch.setattr(compare_command, "carry_out", lambda plan, *_: kept.append(plan))
    sources = []
    for name in ("cube", data):
        sources.append(tmp_path / f"{len(sources)}.yaml")
        spec = tiny(f"name=set-{len(sources)}", f"data={{name: {name}}}")
        sources[-1].write_text(spec.to_yaml())
    plain = bdistil("compare", *sources)
    assert bdistil("compare", *sources, "--method", "reweighted").status == plain.status == 0
    default, named = ([cell["method"] for cell in plan.cells] for plan in kept)
    assert ("reweighted" in default, "average" in default) == (has_it, True)
    assert ("set-2 (regression) has not" in " ".join(plain.errors.split())) is not has_it
    assert named == ["ours", "oracle", "reweighted"]


MODELS = [(100.0, 0.5), (200.0, 0.7), (400.0, 0.9)]


def test_a_fleet_pays_for_every_start() -> None:
    assert unknown_budget.added_up(MODELS) == [(100, 0.5), (300, 0.7), (700, 0.9)]


def test_the_fleet_takes_its_best_order() -> None:
    budgets = np.array([100.0, 499, 500, 1000])
    assert unknown_budget.best_fleet(MODELS, budgets) == [(100, 0.5), (500, 0.9)]


def test_a_fleet_may_leave_out_models_that_are_too_cheap_to_matter() -> None:
    budgets = np.array([200.0, 400, 600])
    assert unknown_budget.best_fleet(MODELS, budgets)[0][0] == 200


def made_up(seeds: int = 2) -> pd.DataFrame:
    rows = []
    for seed in range(seeds):
        for cell, gain in (("method=ours", 0.0), ("method=oracle", 0.0), ("method=average", -0.1)):
            rows += [
                {
                    "data": "one", "cell": cell, "seed": seed, "stage": stage, "teacher": 1.0,
                    "metric": metric + gain, "flops": flops, "streamed_flops": flops,
                    "parameters": 10.0 * stage, "trained": 5.0 * stage,
                }
                for stage, (flops, metric) in enumerate(MODELS, start=1)
            ]  # fmt: skip
    return pd.DataFrame(rows)


def test_ratios_are_to_the_oracle() -> None:
    ratios = comparison.known(made_up())
    assert ratios.loc["method=ours", "one"] == pytest.approx(1)
    assert ratios.loc["method=average", "one"] < 0.9
    figures = comparison.headline(made_up())["one"]
    assert figures["oracle"]["ratio"] == figures["ours"]["ratio"] == 1
    assert figures["average"]["ratio"] == pytest.approx(
        figures["average"]["area"] / figures["oracle"]["area"], abs=1e-3
    )


def test_a_comparison_says_how_sure_it_is() -> None:
    many, few = comparison.conclusion(made_up(8)), comparison.conclusion(made_up())
    assert "1.000 (95% interval 1.000 to 1.000 over 8 pairs) of the matched oracle's on one" in many
    assert "the best rival, average, has" in many
    assert "worse than ours (p = 0.0" in many
    assert few.count("too few pairs for an interval") == 2
    assert "not told apart from ours" in few


def test_equal_curves_beat_a_fleet_that_starts_over() -> None:
    [row] = unknown_budget.against_fleet(made_up(), "method=ours").to_dict("records")
    assert row["ratio"] > 1
    assert row["error_ratio"] == row["level"] == row["restarts"] < 1


def test_earlier_answers_have_their_price() -> None:
    table = made_up()
    ours = table.cell == "method=ours"
    table.loc[ours & (table.stage > 1), "streamed_flops"] *= 1.3
    [row] = unknown_budget.against_fleet(table, "method=ours").to_dict("records")
    assert row["restarts"] < row["error_ratio"] == row["level"]


def test_errors_of_all_methods_that_go_on_stand_side_by_side() -> None:
    errors = unknown_budget.error_ratios(made_up())
    assert list(errors.index) == ["method=ours", "method=average"]
    assert errors.loc["method=average", "one"] > errors.loc["method=ours", "one"]


def with_streaming(validation: float) -> pd.DataFrame:
    table = made_up().assign(validation=0.8)
    streaming = table[table.cell == "method=ours"].assign(
        cell="method=streaming", validation=validation, metric=0.3, trained=1.0
    )
    return pd.concat([table, streaming], ignore_index=True)


@pytest.mark.parametrize(("validation", "kept"), [(0.7, "method=ours"), (0.9, "method=streaming")])
def test_validation_chooses_between_ours_and_streaming(validation: float, kept: str) -> None:
    table = unknown_budget.with_choice(with_streaming(validation))
    chosen = table[table.cell == unknown_budget.CHOSEN]
    original = table[table.cell == kept]
    assert list(chosen.metric) == list(original.metric)
    assert set(unknown_budget.error_ratios(table).index) >= {kept, unknown_budget.CHOSEN}
    answer = comparison.conclusion(with_streaming(validation))
    assert "the area of ours or streaming is" in answer


def test_a_choice_costs_both_trainings() -> None:
    [row] = comparison.storage(with_streaming(0.7)).to_dict("records")
    assert row["both"] == pytest.approx(row["training"] + 1 / 30)


def test_a_method_that_failed_once_is_compared_by_what_it_has() -> None:
    table = made_up(6)
    table = table[(table.cell != "method=average") | (table.seed != 0)]
    [row] = comparison.known_by(table, "method=average").to_dict("records")
    assert row["seeds"] == 5
    assert row["low"] <= row["ratio"] <= row["high"]


def test_a_mean_over_data_sets_needs_all_of_them() -> None:
    other = made_up().assign(data="two")
    table = pd.concat([made_up(), other[other.cell != "method=average"]])
    means = write_up.with_mean(comparison.known(table))["mean"]
    assert means["method=ours"] == pytest.approx(1)
    assert np.isnan(means["method=average"])


def test_without_an_oracle_there_is_nothing_to_compare(tmp_path: Path) -> None:
    ours = Figures("one", {"method": "ours"}, 0, 0.9, 100, [{"metric": 0.8, "flops": 10.0}])
    oracle = Figures("one", {"method": "oracle"}, 0, failed="no candidate trained.")
    with pytest.raises(SearchError, match="since method=oracle failed: no candidate trained"):
        write_up.write_comparison([ours, oracle], tmp_path, "?")
    assert list(tmp_path.iterdir()) == []


def figures_of(method: str, data: str, seed: int, sign: float = 1.0) -> Figures:
    """A method's answers; of sign -1 and 0, a worthless teacher's too."""
    stages = [
        {
            "metric": sign * metric, "validation": metric, "flops": flops, "streamed_flops": flops,
            "parameters": 10.0, "trained": 5.0,
        }
        for flops, metric in MODELS
    ]  # fmt: skip
    return Figures(data, {"method": method}, seed, sign, 1000, stages)


def with_failures(*failed: tuple[str, str]) -> list[Figures]:
    """Three methods on two data sets, of which some have no answer on one."""
    return [
        Figures(data, {"method": method}, 0, failed="no weak learner.")
        if (method, data) in failed
        else figures_of(method, data, 0)
        for method in ("ours", "oracle", "average")
        for data in ("one", "two")
    ]


@pytest.mark.parametrize("method", ["ours", "oracle"])
def test_a_data_set_without_ours_or_the_oracle_is_left_out_and_told(
    method: str, tmp_path: Path
) -> None:
    answer = write_up.write_comparison(with_failures((method, "two")), tmp_path, "?")
    assert "of the matched oracle's on one; the best rival" in answer
    assert f"have no seed in common: two ({method}: no weak learner)." in answer
    assert "1 of 6 runs has no answer: no weak learner." in answer
    assert "curves-two.svg" not in (tmp_path / "README.md").read_text()


def test_data_sets_of_which_none_has_both_are_nothing_to_compare(tmp_path: Path) -> None:
    found = with_failures(("ours", "two"), ("oracle", "one"))
    with pytest.raises(SearchError, match=r"nothing to compare.*two \(ours: .*one \(oracle: "):
        write_up.write_comparison(found, tmp_path, "?")


@pytest.mark.parametrize("sign", [0.0, -1.0])
def test_areas_that_are_not_above_nothing_have_no_ratio(sign: float, tmp_path: Path) -> None:
    """Of two areas below 0 the worse one had the larger ratio."""
    found = [
        figures_of(method, data, seed, sign if data == "bad" else 1.0)
        for method in ("ours", "oracle", "average") for data in ("good", "bad") for seed in (0, 1)
    ]  # fmt: skip
    for each in found:
        if each.cell["method"] == "average":  # by far the worst
            for stage in each.stages:
                stage["metric"] -= 1.0
    answer = write_up.write_comparison(found, tmp_path, "?")
    assert "1.000 (too few pairs for an interval) of the matched oracle's on good;" in answer
    assert "Ratios of areas leave out bad (seeds 0, 1)" in answer
    assert "Shares of the teacher's metric leave out bad (seeds 0, 1)" in answer
    assert "nan" not in answer
    alone = [each for each in found if each.data == "bad"]
    answer = write_up.write_comparison(alone, tmp_path, "?")
    assert "With the budget known, no ratio of areas says anything." in answer
    assert "has no ratio to the fleet's in its best order" in answer


def test_storage_is_beside_the_whole_fleet() -> None:
    [row] = comparison.storage(made_up()).to_dict("records")
    assert row["parameters"] == pytest.approx(30 / 60)
    assert row["training"] == pytest.approx(15 / 30)


@pytest.mark.parametrize("rival", ["single", "snapshot", "nested"])
def test_a_rival_whose_candidates_all_diverge_names_the_value_that_is_to_blame(
    tmp_path_factory: pytest.TempPathFactory, rival: str
) -> None:
    contest = contest_of(tmp_path_factory, "space.weight_decay=1e30")
    with pytest.raises(SearchError, match=r"lower space\.weight_decay \(now 1e\+30\)"):
        RIVALS[rival](contest)
