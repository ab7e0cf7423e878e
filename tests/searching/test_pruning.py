"""Successive halving over the candidates of a round: who goes on, what is kept, what is learnt."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState
from tiny import students, tiny, winners

from bdistil.cluster.launch import launch_search
from bdistil.errors import CheckpointError
from bdistil.runs.run_directory import RunDirectory
from bdistil.runs.trial import TrialRequest, TrialResult
from bdistil.searching.dimensions import distributions
from bdistil.searching.pruning import RoundPruner
from bdistil.searching.trial_values import frozen_trial, standardise
from bdistil.spec.search import PrunerSpec

HALVING = (
    "workers.count=0",
    "search.pruner=halving",
    "search.select=best",
    "search.tries_per_class=4",
    "space.epochs=8",
)


def request(number: int, rung: int = 0) -> TrialRequest:
    return TrialRequest(
        round=1, number=number, rung=rung, attempt=0, params={"lr": 0.02}, seed=number
    )


distinct = st.lists(st.floats(0, 9), min_size=1, max_size=12, unique=True)


@settings(deadline=None)
@given(losses=distinct, factor=st.integers(2, 4))
def test_one_after_another_the_best_share_so_far_goes_on(losses: list[float], factor: int) -> None:
    ask = RoundPruner(PrunerSpec(factor=factor), 1)
    for number, loss in enumerate(losses):
        so_far = sorted(losses[: number + 1])
        goes_on = loss <= so_far[max(1, len(so_far) // factor) - 1]
        assert ask([request(number)], 1, [loss]) == [not goes_on]


@settings(deadline=None)
@given(losses=distinct, factor=st.integers(2, 4))
def test_of_those_that_come_together_the_best_share_goes_on(
    losses: list[float], factor: int
) -> None:
    cut = RoundPruner(PrunerSpec(factor=factor), 1)(
        [request(number) for number in range(len(losses))], 1, losses
    )
    best = sorted(losses)[: -(-len(losses) // factor)]
    assert [loss for loss, each in zip(losses, cut, strict=True) if not each] == [
        loss for loss in losses if loss in best
    ]


def test_classes_are_not_compared_and_who_asks_again_is_told_the_same() -> None:
    ask = RoundPruner(PrunerSpec(), 1)
    assert ask([request(0)], 1, [0.1]) == [False]
    assert ask([request(1)], 1, [0.5]) == [True]
    assert ask([request(2, rung=1)], 1, [0.9]) == [False]
    assert ask([request(1)], 1, [0.5]) == [True]
    assert ask([request(0)], 2, [0.1]) == [False]


def search(out: Path, *overrides: str) -> RunDirectory:
    return launch_search(tiny(*HALVING, *overrides), out).run


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return search(tmp_path_factory.mktemp("halving") / "run")


def test_cut_trials_are_in_the_journal_with_their_losses(whole: RunDirectory) -> None:
    cut = [trial for record in whole.journal.read() for trial in record.cut]
    assert cut
    for trial in cut:
        assert trial.status == "cut"
        assert (trial.epochs, trial.loss) == trial.milestones[-1]
        assert trial.epochs < 8
    for record in whole.journal.read():
        assert record.result.status == "finished"
        assert [trial.epochs for trial in record.trials] == [8] * len(record.trials)
        numbers = [trial.request.number for trial in record.compared]
        assert numbers == list(range(len(numbers)))
        assert sum(record.cut_after.values()) == len(record.cut)


@pytest.mark.parametrize("kept", [1, 3])
def test_a_resumed_search_cuts_the_same(whole: RunDirectory, tmp_path: Path, kept: int) -> None:
    run = search(tmp_path / "run", "search.rounds=4")
    lines = run.journal.path.read_text().splitlines(keepends=True)
    run.journal.path.write_text("".join(lines[:kept]))
    search(run.path)
    assert winners(run.path) == winners(whole.path)
    assert students(run.path) == students(whole.path)
    for ours, theirs in zip(run.journal.read(), whole.journal.read(), strict=True):
        assert [t.milestones for t in ours.cut] == [t.milestones for t in theirs.cut]


def test_another_pruner_is_another_search(whole: RunDirectory) -> None:
    with pytest.raises(CheckpointError, match=r"search\.pruner"):
        search(whole.path, "search.pruner=null")


def test_within_cohorts_the_better_half_goes_on(tmp_path: Path) -> None:
    run = search(tmp_path / "run", "search.cohort=4", "space.connection=dense", "search.rounds=2")
    for record in run.journal.read():
        first = [trial for trial in record.compared if trial.request.rung == 0]
        assert {trial.cohort for trial in first} == {4}
        by_loss = sorted(first, key=lambda trial: trial.milestones[0][1])
        on = [trial for trial in first if len(trial.milestones) > 1]
        assert {t.request.number for t in on} == {t.request.number for t in by_loss[:2]}


def result(number: int, status: str, gain: float, *losses: float) -> TrialResult:
    reached = [(epoch, loss) for epoch, loss in enumerate(losses, start=1)]
    figures = {"status": status, "gain": gain, "edge": 0.1, "milestones": reached}
    return TrialResult.model_validate({"request": request(number), **figures})


def test_a_cut_trial_teaches_its_standing_where_it_was_cut() -> None:
    free = distributions(tiny("space.lr={low: 0.01, high: 0.1}").space)
    lr = {"lr": free["lr"]}
    trials = [
        result(0, "finished", 0.3, 0.4, 0.3),
        result(1, "finished", 0.1, 0.5, 0.45),
        result(2, "cut", 0.05, 0.9),
        result(3, "cut", 0.2, 1.4),
        result(4, "failed", 0.0),
    ]
    values = [trial.value or 0 for trial in standardise(trials, lr)]
    assert values[:2] == pytest.approx([1, -1])
    assert values[3] == pytest.approx(-1.5, abs=0.05)  # 1.4 among .4, .5, .9 and 1.4
    assert values[2] == pytest.approx(
        -1
    )  # better than the mean of them, but no better than the worst
    assert values[4] == pytest.approx(-2)
    assert frozen_trial(trials[2], lr).state == TrialState.PRUNED


def test_status_and_the_table_say_how_many_were_cut(
    whole: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    from bdistil.cli.display import told_trials
    from bdistil.cli.inspect_command import status

    records = whole.journal.read()
    status(whole.path, as_json=True)
    told = json.loads(capsys.readouterr().out)["cut_trials"]
    assert [sum(each.values()) for each in told] == [len(record.cut) for record in records]
    some = next(record for record in records if record.cut)
    assert told_trials(some).startswith(f"{len(some.compared)} trials ({len(some.cut)} cut: ")
