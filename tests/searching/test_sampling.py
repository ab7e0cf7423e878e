"""Sampling is repeatable from (seed, round, trial number) and the journal alone."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, FloatDistribution

from bdistil.core.seeds import derived_seed
from bdistil.errors import SpecError
from bdistil.runs.trial import TrialRequest, TrialResult
from bdistil.searching.sampling import Sampler, build_sampler
from bdistil.searching.trial_values import standardise
from bdistil.spec import Spec, load_spec

SPACE = {
    "recipe": ["accurate", "faithful"],
    "student": ["mlp", "cnn"],
    "connection": ["none", "dense", "gru"],
    "skip": [True, False],
    "gamma": {"low": 1, "high": 100, "log": True},
    "lr": {"low": 0.01, "high": 0.1},
    "epochs": [10, 20],
}


SPACES = {
    "grid": SPACE | {"gamma": [1, 100], "lr": [0.01, 0.03, 0.1]},
    "gp": {name: SPACE[name] for name in ("connection", "lr")},  # larger ones take long
}


def spec_of(algorithm: str, space: dict[str, Any] | None = None, seed: int = 0) -> Spec:
    space = space or SPACES.get(algorithm, SPACE)
    return load_spec(
        {"seed": seed, "data": {"name": "cube"}, "space": space, "search": {"algorithm": algorithm}}
    )


def play(sampler: Sampler, history: list[TrialResult], rounds: range, trials: int = 5) -> None:
    """Rounds whose trials all finish; a trial's gain depends on what was sampled."""
    for round_number in rounds:
        sampler.open_round(round_number)
        results = []
        for number in range(trials):
            params = sampler.ask(round_number, number)
            request = TrialRequest(
                round=round_number, number=number, rung=0, attempt=number, params=params, seed=0
            )
            gain = -abs(params["lr"] - 0.03) - (params["connection"] != "dense")
            results.append(
                TrialResult(request=request, status="finished", gain=gain, edge=0.1, weak=True)
            )
            sampler.tell(results[-1])
        history.extend(results)


def params_of(history: list[TrialResult]) -> list[dict[str, Any]]:
    return [result.request.params for result in history]


@pytest.mark.parametrize("algorithm", ["tpe", "gp", "random", "grid"])
def test_a_resumed_search_samples_what_an_uninterrupted_one_does(algorithm: str) -> None:
    whole: list[TrialResult] = []
    play(build_sampler(spec_of(algorithm), lambda: whole), whole, range(1, 6))

    resumed = whole[:15]  # the journal after three rounds of five trials
    play(build_sampler(spec_of(algorithm), lambda: resumed), resumed, range(4, 6))
    assert params_of(resumed) == params_of(whole)


@pytest.mark.parametrize("algorithm", ["tpe", "gp", "random", "grid"])
def test_losers_of_an_interrupted_round_leave_no_trace(algorithm: str) -> None:
    whole: list[TrialResult] = []
    play(build_sampler(spec_of(algorithm), lambda: whole), whole, range(1, 4))

    history = whole[:10]
    sampler = build_sampler(spec_of(algorithm), lambda: history)
    sampler.open_round(3)
    for number in range(3):
        sampler.ask(3, number)  # handed out, never answered: the process dies here
    again = list(history)
    play(build_sampler(spec_of(algorithm), lambda: again), again, range(3, 4))
    assert params_of(again) == params_of(whole)


@pytest.mark.parametrize("name", ["cmaes", "cma-es", "CmaEsSampler"])
def test_cma_es_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(
        SpecError, match=r"search.algorithm: there is no CMA-ES: .*; take tpe or gp"
    ):
        spec_of(name)


def test_tpe_learns_from_earlier_rounds() -> None:
    def good(algorithm: str, seed: int) -> int:
        history: list[TrialResult] = []
        sampler = build_sampler(spec_of(algorithm, seed=seed), lambda: history)
        play(sampler, history, range(1, 13))
        return sum(params["connection"] == "dense" for params in params_of(history)[30:])

    tpe, random = (sum(good(a, seed) for seed in range(3)) for a in ("tpe", "random"))
    assert tpe > 1.3 * random


def test_where_answers_differ_clearly_they_are_learnt_from_and_not_losses_and_edges() -> None:
    """As on photographs: one recipe answers best, with the worst loss and edges that fail."""
    recipes = ["accurate", "faithful", "paper"]
    answers = dict(zip(recipes, (0.48, 0.51, 0.55), strict=True))

    def proposals(error: float) -> list[str]:
        history: list[TrialResult] = []
        for round_number, number in itertools.product((2, 3, 4), range(4)):
            name = recipes[(round_number + number) % 3]
            request = TrialRequest(
                round=round_number,
                number=number,
                rung=0,
                attempt=0,
                params={"recipe": name},
                seed=0,
            )
            gain, edge = -answers[name], -answers[name]
            metric = {"metric": answers[name], "metric_gain": answers[name] - 0.5}
            history.append(
                TrialResult(
                    request=request, status="finished", gain=gain, edge=edge, metric_error=error,
                    **metric,
                )
            )  # fmt: skip
        sampler = build_sampler(spec_of("tpe", {"recipe": recipes}), lambda: history)
        sampler.open_round(5)
        return [sampler.ask(5, number)["recipe"] for number in range(12)]

    assert proposals(0.01).count("paper") > 6
    assert proposals(0.0).count("paper") < 4


@pytest.mark.parametrize("algorithm", ["tpe", "gp"])
@given(seed=st.integers(0, 1000), cohort=st.sampled_from([1, 2, 4]))
@settings(max_examples=20, deadline=None)
def test_each_quarter_of_a_range_is_tried_before_any_is_preferred(
    algorithm: str, seed: int, cohort: int
) -> None:
    space = {name: SPACE[name] for name in ("gamma", "lr")} | {"connection": ["none", "gru"]}
    history: list[TrialResult] = []
    sampler = build_sampler(spec_of(algorithm, space, seed), lambda: history)
    for round_number, names in ((1, ("lr",)), (2, ("lr", "gamma"))):
        sampler.open_round(round_number)
        asked: list[dict[str, Any]] = []
        for number in range(4):
            shared = asked[number - number % cohort] if number % cohort else None
            asked.append(sampler.ask(round_number, number, shared))
        for name in names:
            values = np.array([params[name] for params in asked])
            low, high, log = SPACE[name]["low"], SPACE[name]["high"], SPACE[name].get("log")
            along = (
                np.log(values / low) / np.log(high / low) if log else (values - low) / (high - low)
            )
            assert sorted((4 * along).astype(int)) == [0, 1, 2, 3]
        if round_number == 2 and cohort < 4:
            assert {params["connection"] for params in asked} == {"none", "gru"}


def test_random_sampling_has_no_rules() -> None:
    def quarters(seed: int) -> set[int]:
        sampler = build_sampler(spec_of("random", {"lr": {"low": 1, "high": 2}}, seed), list)
        sampler.open_round(1)
        return {int(4 * (sampler.ask(1, number)["lr"] - 1)) for number in range(4)}

    assert {len(quarters(seed)) for seed in range(30)} > {4}


def test_other_seeds_sample_other_values() -> None:
    sampled = []
    for seed in (0, 1):
        sampler = build_sampler(spec_of("random", seed=seed), list)
        sampler.open_round(1)
        sampled.append(sampler.ask(1, 0))
    assert sampled[0] != sampled[1]


def test_values_lie_in_their_dimensions() -> None:
    history: list[TrialResult] = []
    play(build_sampler(spec_of("tpe"), lambda: history), history, range(1, 9))
    for result in history:
        params = result.request.params
        if result.request.round == 1:  # where these have no effect
            assert params["connection"] is params["gamma"] is params["skip"] is None
        else:
            assert params["connection"] in SPACE["connection"]
            assert 1 <= params["gamma"] <= 100
        assert params["recipe"] in SPACE["recipe"]
        assert 0.01 <= params["lr"] <= 0.1
        assert params["temperature"] is None  # left to the recipe


def test_grid_visits_every_combination_once() -> None:
    space = {"connection": ["none", "dense"], "skip": [True, False], "gamma": [1, 10, 100]}
    sampler = build_sampler(spec_of("grid", space), list)
    sampler.open_round(1)
    points = [tuple(sampler.ask(1, n)[k] for k in space) for n in range(12)]
    assert len(set(points)) == 12
    assert tuple(sampler.ask(1, 12)[k] for k in space) == points[0]


def test_grid_refuses_a_range() -> None:
    with pytest.raises(SpecError, match=r"space.gamma is a range; algorithm: grid needs a list"):
        spec_of("grid", {"gamma": {"low": 1, "high": 10}})


def test_failed_trials_teach_nothing_but_do_not_break_the_study() -> None:
    sampler = build_sampler(spec_of("tpe"), list)
    sampler.open_round(1)
    for number in range(3):
        request = TrialRequest(
            round=1, number=number, rung=0, attempt=0, params=sampler.ask(1, number), seed=0
        )
        sampler.tell(TrialResult(request=request, status="failed", reason="broke"))
    assert sampler.ask(1, 3)["lr"] > 0


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(), st.text(max_size=5)), min_size=2, unique=True))
def test_derived_seeds_are_in_range_and_differ(parts: list[tuple[int, str]]) -> None:
    seeds = [derived_seed(*part) for part in parts]
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert len(set(seeds)) == len(seeds)


@pytest.mark.parametrize("algorithm", ["tpe", "random"])
def test_members_of_a_cohort_differ_only_where_they_may(algorithm: str) -> None:
    history: list[TrialResult] = []
    play(build_sampler(spec_of(algorithm), lambda: history), history, range(1, 5))
    sampler = build_sampler(spec_of(algorithm), lambda: history)
    sampler.open_round(5)
    first = sampler.ask(5, 0)
    members = [sampler.ask(5, number, first) for number in range(1, 6)]
    for member in members:
        for name in ("recipe", "student", "connection", "skip", "epochs"):
            assert member[name] == first[name]
    assert len({member["lr"] for member in members}) == 5
    assert len({member["gamma"] for member in members}) == 5


def test_a_request_puts_its_values_into_its_recipe() -> None:
    params = {"recipe": "faithful", "connection": "gru", "gamma": 7.0, "lr": None, "epochs": 3}
    request = TrialRequest(round=1, number=0, rung=0, attempt=0, params=params, seed=0)
    recipe = request.recipe()
    assert (recipe.connection, recipe.gamma, recipe.epochs) == ("gru", 7.0, 3)
    assert recipe.temperature == 2.0  # faithful's own


def results(gains: list[float], round_number: int, rung: int = 0) -> list[TrialResult]:
    """Trials of one class, of which those that are NaN have failed."""
    found = []
    for number, gain in enumerate(gains):
        request = TrialRequest(
            round=round_number, number=number, rung=rung, attempt=0, params={"lr": 0.02}, seed=0
        )
        failed = {"status": "failed"} if gain != gain else {"status": "finished", "gain": gain}
        found.append(TrialResult.model_validate({"request": request} | failed))
    return found


LR: dict[str, BaseDistribution] = {"lr": FloatDistribution(0.01, 0.1)}


def test_gains_count_by_their_distance_from_the_mean_of_round_and_class() -> None:
    trials = standardise([*results([0.9, 0.7], 1), *results([0.01, 0.03], 2, rung=1)], LR)
    assert [trial.value for trial in trials] == pytest.approx([1, -1, -1, 1])


def test_a_failed_trial_is_worse_than_the_worst_of_its_class() -> None:
    trials = standardise(results([0.1, 0.3, float("nan")], 2), LR)
    assert trials[2].value == pytest.approx(-2)
    [alone] = standardise(results([float("nan")], 2), LR)
    assert alone.value == -1


@pytest.mark.parametrize("params", [{"lr": 0.2}, {"lr": None}, {}])
def test_trials_of_other_spaces_teach_nothing(params: dict[str, Any]) -> None:
    [result] = results([0.1], 2)
    request = result.request.model_copy(update={"params": params})
    assert standardise([result.model_copy(update={"request": request})], LR) == []


def test_a_search_learns_from_the_runs_that_it_starts_from() -> None:
    def first_proposals(others: list[list[TrialResult]]) -> list[float]:
        sampler = build_sampler(spec_of("tpe", {"lr": {"low": 0.01, "high": 0.1}}), list, others)
        sampler.open_round(2)
        return [sampler.ask(2, number)["lr"] for number in range(4)]

    known: list[TrialResult] = []
    for number, lr in enumerate([0.01 + 0.0045 * k for k in range(20)]):
        request = TrialRequest(round=2, number=number, rung=0, attempt=0, params={"lr": lr}, seed=0)
        gain = -abs(lr - 0.08)
        known.append(TrialResult(request=request, status="finished", gain=gain, edge=0.1))
    started = first_proposals([known])
    assert max(abs(lr - 0.08) for lr in started) < 0.02
    assert max(abs(lr - 0.08) for lr in first_proposals([])) > 0.02


@pytest.mark.parametrize("algorithm", ["tpe", "gp"])
def test_later_rounds_learn_from_the_first_what_acts_alike_there(algorithm: str) -> None:
    recipes = ["accurate", "faithful"]
    space = {"lr": {"low": 0.01, "high": 0.1}, "recipe": recipes, "skip": [True, False]}

    def proposals(history: list[TrialResult], seed: int = 0) -> list[dict[str, Any]]:
        sampler = build_sampler(spec_of(algorithm, space, seed), lambda: history)
        sampler.open_round(2)
        return [sampler.ask(2, number) for number in range(3)]

    first: list[TrialResult] = []
    play_lr(first, recipes)
    third = [proposals(first, seed)[2] for seed in range(12)]
    assert min(params["lr"] for params in third) > 0.06
    assert min(proposals([], seed)[2]["lr"] for seed in range(12)) < 0.03
    for name in ("recipe", "skip"):  # of these it says nothing, so both are tried at once
        for seed in range(12):
            one, two, _ = (repr(params[name]) for params in proposals(first, seed))
            assert one != two
        assert len({repr(params[name]) for params in third}) == 2


def play_lr(history: list[TrialResult], recipes: list[str]) -> None:
    """A first round where larger learning rates are better, and one recipe for all one sees."""
    for number in range(12):
        params = {"lr": 0.01 + 0.007 * number, "recipe": recipes[number < 6], "skip": None}
        request = TrialRequest(round=1, number=number, rung=0, attempt=0, params=params, seed=0)
        history.append(TrialResult(request=request, status="finished", gain=number / 12, edge=0.0))


@pytest.mark.parametrize("algorithm", ["tpe", "gp"])
@pytest.mark.parametrize("seed", range(6))
def test_each_choice_is_tried_before_any_is_preferred(algorithm: str, seed: int) -> None:
    space = SPACE | {"recipe": ["accurate", "faithful", "paper"], "epochs": [*range(10, 18)]}
    history: list[TrialResult] = []
    sampler = build_sampler(spec_of(algorithm, space, seed), lambda: history)
    play(sampler, history, range(1, 3), trials=4)
    for round_number in (1, 2):  # recipes act otherwise in the second
        tried = [r.request.params for r in history if r.request.round == round_number]
        assert {params["recipe"] for params in tried} == {"accurate", "faithful", "paper"}
    tried = [r.request.params for r in history if r.request.round == 1]
    assert {params["student"] for params in tried} == {"mlp", "cnn"}
    connections = [r.request.params["connection"] for r in history if r.request.round == 2]
    assert set(connections) == {"none", "dense", "gru"}
    later: list[TrialResult] = [*history]
    play(sampler, later, range(3, 4), trials=4)
    assert len(later) == len(history) + 4
