"""The round controller on the simulated backend: virtual workers, virtual time, no Ray."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bdistil.errors import SearchError
from bdistil.runs.trial import TrialAnswer, TrialRequest, TrialResult
from bdistil.searching.controller import RoundController
from bdistil.searching.simulated import SimulatedBackend, SimulatedTrial, simulate
from bdistil.searching.verdict import Winner, choose, explain
from bdistil.spec import Spec, load_spec


class CountingSampler:
    """Proposes the trial's own number and remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[TrialResult] = []
        self.rounds: list[int] = []

    def open_round(self, number: int) -> None:
        self.rounds.append(number)

    def ask(
        self,
        round_number: int,
        number: int,
        cohort: dict[str, Any] | None = None,
        rung: int = 0,
    ) -> dict[str, Any]:
        return {"number": number, "cohort": cohort}

    def tell(self, result: TrialResult) -> None:
        self.told.append(result)


@dataclass(frozen=True)
class Outcome:
    """How a simulated trial ends."""

    seconds: float
    weak: bool
    loss: float = 1.0
    edge: float = 0.1
    gain: float = 0.1
    metric: float = 0.0
    metric_gain: float = 0.0
    metric_error: float = 0.0
    failed: bool = False

    def answer(self) -> TrialAnswer:
        if self.failed:
            return TrialAnswer(status="failed", reason="it broke")
        figures = {"edge": self.edge, "relative_edge": self.edge, "gain": self.gain}
        figures |= {"metric_gain": self.metric_gain, "metric_error": self.metric_error}
        figures["metric"] = self.metric
        return TrialAnswer(status="finished", weak=self.weak, loss=self.loss, **figures)

    def result(self, request: TrialRequest) -> TrialResult:
        return TrialResult(request=request, **self.answer().model_dump())


class Simulation:
    """A search on a simulated backend, and what came of it."""

    def __init__(self, spec: Spec, plan: Callable[[TrialRequest], Outcome]) -> None:
        self.spec = spec
        self.plan = plan

    def trial(self, request: TrialRequest) -> SimulatedTrial:
        outcome = self.plan(request)
        return SimulatedTrial(outcome.seconds, outcome.answer())

    def run(self, workers: int) -> None:
        self.backend = SimulatedBackend(workers, self.trial)
        self.winners, self.ended = simulate(self.spec, CountingSampler(), self.backend)
        self.requests = self.backend.requests


def after_round_one(plan: Callable[[TrialRequest], Outcome]) -> Callable[[TrialRequest], Outcome]:
    """Round 1, which is always the best of its class, in no time."""
    return lambda request: plan(request) if request.round > 1 else Outcome(0, weak=True)


def next_request(controller: RoundController) -> TrialRequest | None:
    cohort = controller.next_cohort()
    return None if cohort is None else cohort.requests[0]


def answer(controller: RoundController, result: TrialResult) -> None:
    controller.answer([result])


def spec_of(**search: Any) -> Spec:
    ladder = search.pop("ladder", [4, 8])
    return load_spec({"data": {"name": "cube"}, "space": {"ladder": ladder}, "search": search})


def test_first_keeps_the_first_weak_learner_to_finish_not_the_best() -> None:
    losses = {0: 0.1, 1: 0.9}
    search = Simulation(
        spec_of(rounds=2, select="first"),
        after_round_one(
            lambda request: Outcome(
                10 - request.number, weak=True, loss=losses.get(request.number, 1)
            )
        ),
    )
    search.run(workers=2)
    _, winner = search.winners
    assert [request.number for request in winner.stopped] == [0]
    assert winner.result.request.number == 1  # finished after 9 s, number 0 after 10 s
    assert search.backend.clock == 9


def test_best_waits_for_the_class_and_takes_the_least_validation_loss() -> None:
    losses = [0.5, 0.4, 0.3, 0.6]
    search = Simulation(
        spec_of(rounds=1, select="best", tries_per_class=4),
        lambda request: Outcome(1, weak=request.number != 2, loss=losses[request.number]),
    )
    search.run(workers=2)
    [winner] = search.winners
    assert winner.result.request.number == 1  # number 2 has less loss but is no weak learner
    assert len(winner.trials) == 4
    assert {request.rung for request in search.requests} == {0}


def test_grace_lets_others_finish_and_takes_the_best_of_them() -> None:
    seconds, losses = [5.0, 7.0, 20.0], [0.9, 0.2, 0.1]
    search = Simulation(
        spec_of(rounds=2, select="first", grace=3),
        after_round_one(
            lambda request: Outcome(seconds[request.number], weak=True, loss=losses[request.number])
        ),
    )
    search.run(workers=3)
    _, winner = search.winners
    assert winner.result.request.number == 1
    assert search.backend.clock == 8  # 3 s after the first at 5 s; number 2 came too late


def test_grace_ends_early_when_nothing_runs_any_more() -> None:
    search = Simulation(
        spec_of(rounds=2, select="first", grace=100),
        after_round_one(lambda request: Outcome(5, weak=True)),
    )
    search.run(workers=2)
    assert search.backend.clock == 5


def test_a_class_without_weak_learner_escalates_to_the_next_larger_one() -> None:
    search = Simulation(
        spec_of(rounds=1, tries_per_class=2, trials_per_round=6, ladder=[4, 8, 16]),
        lambda request: Outcome(1, weak=request.rung == 2),
    )
    search.run(workers=4)
    numbers = [(request.rung, request.attempt) for request in search.requests]
    assert numbers[:6] == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]
    assert search.winners[0].result.request.rung == 2


def test_a_free_worker_goes_ahead_with_the_next_class_and_no_further() -> None:
    spec = spec_of(rounds=1, tries_per_class=2, ladder=[4, 8, 16])
    controller = RoundController(spec, CountingSampler(), lambda winner: None)
    handed_out = [next_request(controller) for _ in range(5)]
    assert [None if each is None else each.rung for each in handed_out] == [0, 0, 1, 1, None]
    first, second, third = (each for each in handed_out[:3] if each is not None)
    answer(controller, Outcome(1, weak=False).result(first))
    assert next_request(controller) is None
    answer(controller, Outcome(1, weak=False).result(second))
    ahead = next_request(controller)
    assert ahead is not None
    assert ahead.rung == 2
    answer(controller, Outcome(1, weak=True).result(third))
    assert next_request(controller) is None  # the class has a weak learner: no larger one is needed


@pytest.mark.parametrize("select", ["first", "best"])
def test_what_a_worker_finds_ahead_counts_only_once_the_class_before_has_failed(
    select: str,
) -> None:
    def plan(request: TrialRequest) -> Outcome:
        return Outcome(1.0 + 9.0 * (request.rung == 0), weak=request.rung == 1, loss=0.1)

    search = Simulation(spec_of(rounds=2, select=select, tries_per_class=2), after_round_one(plan))
    search.run(workers=3)
    winner = search.winners[1]
    assert winner.result.request.rung == 1
    assert search.backend.clock == 10


def test_a_weak_learner_of_the_smaller_class_wins_over_a_better_one_ahead() -> None:
    def plan(request: TrialRequest) -> Outcome:
        return Outcome(1 + 9.0 * (request.number == 1), weak=request.number > 0, loss=-request.rung)

    search = Simulation(spec_of(rounds=1, select="best", tries_per_class=2), plan)
    search.run(workers=4)
    assert search.winners[0].result.request.number == 1


def result(number: int, **figures: Any) -> TrialResult:
    request = TrialRequest(round=1, number=number, rung=0, attempt=0, params={}, seed=0)
    return Outcome(1, **{"weak": False, **figures}).result(request)


def test_without_a_weak_learner_the_one_that_helps_most_is_kept_and_marked() -> None:
    results = [
        result(0, gain=0.2, edge=-0.5),
        result(1, gain=0.3, edge=-0.9),
        result(2, gain=0.4, edge=0.1, metric_gain=-0.01),  # answers worse than without it
        result(3, gain=-0.1, edge=0.9),
    ]
    kept = choose(results, "helpful")
    assert kept is not None
    assert kept.request.number == 1
    best = choose(results, "best")
    assert best is not None
    assert best.request.number == 2
    assert choose(results, "none") is None


def test_a_helpful_candidate_that_answers_clearly_better_comes_before_weak_learners() -> None:
    error = {"metric_error": 0.01}
    weak = [
        result(0, metric=0.52, metric_gain=0.01, loss=0.5, weak=True, **error),
        result(1, metric=0.53, metric_gain=0.02, loss=0.4, weak=True, **error),
    ]

    def kept(metric: float, *how: Any) -> int:
        other = result(2, metric=metric, metric_gain=metric - 0.51, loss=0.9, edge=-0.9, **error)
        chosen = choose([*weak, other], *how)
        assert chosen is not None
        return chosen.request.number

    assert kept(0.56, "helpful") == 2
    assert kept(0.535, "helpful") == 1  # within a standard error the loss decides
    assert kept(0.56, "helpful", "first") == 1
    assert kept(0.56, "best") == kept(0.56, "none") == 1
    assert kept(0.50, "helpful") == 1


@pytest.mark.parametrize(
    ("fallback", "figures", "reason"),
    [
        ("helpful", {"gain": -0.1}, "the edges of 8 held and 0 made the ensemble better"),
        ("none", {"gain": 0.1}, "search.fallback=helpful keeps those that help"),
    ],
)
def test_a_round_that_nothing_helps_ends_the_search_with_the_reason(
    fallback: str, figures: dict[str, float], reason: str
) -> None:
    search = Simulation(
        spec_of(rounds=5, fallback=fallback),
        lambda request: Outcome(1, weak=request.round < 3, **figures),
    )
    search.run(workers=2)
    assert len(search.winners) == 2
    tried = [request.rung for request in search.requests if request.round == 3]
    assert tried == [0] * 4 + [1] * 4  # every class
    assert search.ended is not None
    assert search.ended.end == "saturated"
    assert reason in search.ended.reason
    assert len(search.ended.trials) == 8


@pytest.mark.parametrize(("fallback", "students"), [("helpful", 1), ("none", 0)])
def test_a_first_student_is_kept_even_if_a_constant_would_do_unless_that_is_forbidden(
    fallback: str, students: int
) -> None:
    search = Simulation(
        spec_of(rounds=5, fallback=fallback), lambda request: Outcome(1, weak=False, gain=-0.1)
    )
    search.run(workers=2)
    assert len(search.winners) == students
    assert search.ended is not None


@given(tries=st.integers(1, 6), classes=st.integers(1, 5))
def test_every_class_is_reached_by_default(tries: int, classes: int) -> None:
    search = Simulation(
        spec_of(rounds=1, tries_per_class=tries, ladder=[2**k for k in range(classes)]),
        lambda request: Outcome(1, weak=False),
    )
    search.run(workers=3)
    assert Counter(request.rung for request in search.requests) == dict.fromkeys(
        range(classes), tries
    )


def test_a_late_loser_of_a_closed_round_changes_nothing() -> None:
    winners: list[Winner] = []
    spec = spec_of(rounds=3, select="first")
    controller = RoundController(spec, CountingSampler(), winners.append, rounds_done=1)
    first, second = next_request(controller), next_request(controller)
    assert first is not None
    assert second is not None
    answer(controller, Outcome(1, weak=True).result(second))
    answer(controller, Outcome(1, weak=True).result(first))  # at the same moment, but second
    assert [winner.result.request.number for winner in winners] == [1]
    assert controller.open.number == 3
    assert not controller.open.answered


def test_failed_trials_count_as_tries_and_do_not_win() -> None:
    search = Simulation(
        spec_of(rounds=2), lambda request: Outcome(1, weak=True, failed=request.number == 0)
    )
    search.run(workers=1)
    assert [winner.result.request.number for winner in search.winners] == [1, 1]


def test_a_round_whose_trials_all_fail_stops_with_their_reason() -> None:
    search = Simulation(
        spec_of(rounds=1, max_failures=100), lambda request: Outcome(1, weak=True, failed=True)
    )
    with pytest.raises(SearchError, match=r"every trial of round 1 failed: it broke"):
        search.run(workers=2)


def test_too_many_failures_stop_the_search() -> None:
    search = Simulation(
        spec_of(rounds=9, max_failures=2),
        lambda request: Outcome(1, weak=request.number == 1, failed=request.number == 0),
    )
    with pytest.raises(SearchError, match=r"3 trials failed, more than search.max_failures=2"):
        search.run(workers=1)


def test_a_stopped_search_hands_out_nothing() -> None:
    controller = RoundController(spec_of(), CountingSampler(), lambda winner: None)
    running = next_request(controller)
    assert running is not None
    controller.stop()
    assert controller.finished
    assert next_request(controller) is None
    answer(controller, Outcome(1, weak=True).result(running))
    assert controller.open.number == 1


def test_a_resumed_search_opens_the_next_round() -> None:
    sampler = CountingSampler()
    controller = RoundController(spec_of(rounds=3), sampler, lambda winner: None, rounds_done=2)
    request = next_request(controller)
    assert request is not None
    assert (request.round, request.number) == (3, 0)
    assert sampler.rounds == [3]


def test_a_cohort_shares_a_class_and_its_members_are_judged_together() -> None:
    losses = [0.5, 0.2, 0.9]
    search = Simulation(
        spec_of(rounds=1, cohort=3, tries_per_class=3, ladder=[4, 8]),
        lambda request: Outcome(1, weak=True, loss=losses[request.number]),
    )
    search.run(workers=1)
    [winner] = search.winners
    assert winner.result.request.number == 1  # all finished at once, so the best of them
    assert [request.number for request in search.requests] == [0, 1, 2]
    shared = [request.params["cohort"] for request in search.requests]
    assert shared == [None, *[search.requests[0].params] * 2]


def test_a_cohort_does_not_reach_into_the_next_class() -> None:
    search = Simulation(
        spec_of(rounds=1, cohort=4, tries_per_class=3, trials_per_round=5),
        lambda request: Outcome(1, weak=False),
    )
    search.run(workers=1)
    rungs = [request.rung for request in search.requests]
    assert rungs == [0, 0, 0, 1, 1]


outcomes = st.builds(
    Outcome,
    seconds=st.floats(0.1, 10),
    weak=st.booleans(),
    loss=st.floats(0, 1),
    edge=st.floats(-1, 1),
    gain=st.floats(-1, 1),
)


@settings(deadline=None)
@given(
    data=st.data(),
    rounds=st.integers(1, 4),
    workers=st.integers(1, 6),
    tries=st.integers(1, 4),
    trials=st.integers(1, 9),
    select=st.sampled_from(["first", "best"]),
    grace=st.sampled_from([0.0, 2.5]),
    cohort=st.integers(1, 5),
)
def test_any_search_ends_with_one_student_a_round(
    data: st.DataObject,
    rounds: int,
    workers: int,
    tries: int,
    trials: int,
    select: str,
    grace: float,
    cohort: int,
) -> None:
    spec = spec_of(
        rounds=rounds,
        tries_per_class=tries,
        trials_per_round=trials,
        select=select,
        grace=grace if select == "first" else 0,
        cohort=cohort,
        fallback="best",
    )
    search = Simulation(spec, lambda request: data.draw(outcomes))
    search.run(workers)
    assert [winner.result.request.round for winner in search.winners] == list(range(1, rounds + 1))
    handed_out = Counter(request.round for request in search.requests)
    assert max(handed_out.values()) <= min(trials, tries * 2)
    keys = [(request.round, request.number) for request in search.requests]
    assert len(set(keys)) == len(keys)
    seeds = [request.seed for request in search.requests]
    assert len(set(seeds)) == len(seeds)
    for winner in search.winners:
        assert winner.result in winner.trials
        classes = [each.request.rung for each in winner.trials if each.weak]
        assert winner.result.weak == bool(classes)
        if classes:
            assert winner.result.request.rung == min(classes)


def test_utilisation_counts_the_time_that_workers_were_given_trials() -> None:
    seconds = [4.0, 2.0]
    search = Simulation(
        spec_of(rounds=1, select="best", tries_per_class=2, trials_per_round=2),
        lambda request: Outcome(seconds[request.number], weak=True),
    )
    search.run(workers=2)
    assert search.backend.clock == 4
    assert search.backend.utilisation == pytest.approx(6 / 8)


def test_losers_of_a_closed_round_keep_workers_busy_until_it_closes() -> None:
    search = Simulation(
        spec_of(rounds=2, select="first"),
        after_round_one(lambda request: Outcome(2.0 if request.number else 100.0, weak=True)),
    )
    search.run(workers=2)
    assert search.backend.clock == 2
    assert search.backend.utilisation == pytest.approx(1)


def test_why_a_round_ended_counts_the_edges_that_were_asked_for() -> None:
    edges = [result(number, edge=edge) for number, edge in enumerate((-0.1, 0.0, 0.2))]
    assert "the edges of 2 held" in explain(edges, "none")
    assert "the edges of 1 held" in explain(edges, "none", least_edge=0.1)
    assert "search.min_edge=0.1" in explain(edges, "none", least_edge=0.1)
