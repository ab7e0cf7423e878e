"""Trials that go on after an interruption, in one process: the same students, to the bit.

On a cluster they are tried in tests/cluster/test_preempted_trials.py.
"""

from __future__ import annotations

import json
import math
import random
import signal
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from faulty_searches import faulty_searches, names, same_end
from reporters import Heard
from tiny import tiny

import bdistil
from bdistil.core.training_state import StateError, TrainingState
from bdistil.runs.checkpoint import Checkpoint
from bdistil.runs.open_training import OpenTrainingFiles
from bdistil.runs.run_directory import RunDirectory
from bdistil.runs.trial import Cohort, TrialRequest
from bdistil.searching import checkpointing, kept_training, loop
from bdistil.searching.checkpointing import Keeper
from bdistil.searching.kept_training import KeptTrainings
from bdistil.searching.local import LocalBackend
from bdistil.searching.run import run_search

pytestmark = pytest.mark.filterwarnings("ignore:the teacher's validation metric")

SPEC = ("search.rounds=2", "workers.count=0", "space.epochs=9", "space.ladder=[3]")
HALVING = ("search.pruner=halving", "search.tries_per_class=4")
IN_TURN = ("search.cohort=2", "space.early_accept=true", "search.min_edge=1000")
KINDS = [
    pytest.param((), id="alone"),
    pytest.param((*HALVING, "search.cohort=4"), id="halved cohorts"),
    pytest.param(HALVING, id="halved", marks=pytest.mark.nightly),
    pytest.param(IN_TURN, id="cohorts in turn", marks=pytest.mark.nightly),
]


def journal_without_times(run: Path) -> list[Any]:
    def timeless(found: Any) -> Any:
        if isinstance(found, dict):
            return {k: timeless(v) for k, v in found.items() if k != "seconds"}
        return [timeless(each) for each in found] if isinstance(found, list) else found

    records = RunDirectory(run).journal.read()
    return [timeless(json.loads(record.model_dump_json())) for record in records]


# --- searches ------------------------------------------------------------------------------------


@pytest.mark.parametrize("choices", KINDS)
def test_a_killed_search_goes_on_within_its_trials(
    tmp_path: Path, choices: tuple[str, ...]
) -> None:
    """Killed at random writes, most of them of checkpoints."""
    whole, run = tmp_path / "whole", tmp_path / "run"
    draw, printed, kills = random.Random(" ".join(choices)), "", 0
    overrides = (*SPEC, "space.connection=dense", *choices)
    bdistil.search(tiny(*overrides), whole)
    with faulty_searches(tmp_path, overrides, checkpoints=True) as search:
        while (done := search(run, "kill", f"write {draw.randint(16, 40)}")).status != 0:
            assert done.status == -signal.SIGKILL, done.printed
            printed, kills = printed + done.printed, kills + 1
    told = (printed + done.printed).count("on after epoch")
    assert kills / 2 <= told <= kills
    assert same_end(run, whole)
    assert journal_without_times(run) == journal_without_times(whole)
    assert names(run) - names(whole) == {"report.html"}


@pytest.fixture
def each_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each epoch of a trial in this process leaves a checkpoint."""
    monkeypatch.setattr(checkpointing, "SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr(checkpointing, "MOST_TAKING", math.inf)
    monkeypatch.setattr(kept_training, "MOST_WRITING", math.inf)


def interrupt_in_mid_trial(monkeypatch: pytest.MonkeyPatch, run: Path, place: str = "") -> None:
    """Search until some batches after the third trial's first checkpoint."""
    left = 10

    def check() -> None:
        nonlocal left
        left -= (run / "open" / "training-0002.json").exists()
        if left < 0:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(loop, "check", check)
        with pytest.raises(KeyboardInterrupt):
            bdistil.search(tiny(*SPEC, "search.tries_per_class=3"), place or run)


def finish(run: Path | str, *others: str) -> list[str]:
    heard = Heard()
    run_search(
        tiny(*SPEC, "search.tries_per_class=3", *others), run, LocalBackend(), reporter=heard
    )
    return heard.messages


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    return bdistil.search(tiny(*SPEC, "search.tries_per_class=3"), out).directory


@pytest.mark.usefixtures("each_epoch")
@pytest.mark.parametrize("at_uri", [False, True], ids=["folder", "uri"])
def test_an_interrupted_trial_goes_on_and_says_where(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, at_uri: bool
) -> None:
    run = tmp_path / "run"
    place = run.as_uri() if at_uri else str(run)
    interrupt_in_mid_trial(monkeypatch, run, place)
    assert len(list((run / "open").glob("training-*.safetensors"))) == 1
    assert not list(run.rglob(".*.partial"))
    (training,) = OpenTrainingFiles(RunDirectory(run)).read()
    told = [text for text in finish(place) if "on after" in text]
    assert told == [f"Round 1: trial 2 goes on after epoch {training.epochs} of 9."]
    assert training.epochs > 1
    assert same_end(run, whole)
    assert not (run / "open").exists() or not [*(run / "open").iterdir()]


@pytest.mark.usefixtures("each_epoch")
@pytest.mark.parametrize("name", ["training-0002.json", "training-0002-*.safetensors"])
@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1] + bytes([b[-1] ^ 1]), lambda b: b[:9], lambda b: b""]
)
def test_a_damaged_checkpoint_is_told_and_its_trial_starts_anew(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, name: str, damage: Any
) -> None:
    run = tmp_path / "run"
    interrupt_in_mid_trial(monkeypatch, run)
    (file,) = (run / "open").glob(name)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.warns(bdistil.errors.BdistilWarning, match="training-0002.* cannot be used"):
        assert not [text for text in finish(run) if "on after" in text]
    assert same_end(run, whole)


@pytest.mark.usefixtures("each_epoch")
def test_a_checkpoint_of_other_settings_is_told_and_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    interrupt_in_mid_trial(monkeypatch, run)
    messages = finish(run, "seed=5")
    assert "Round 1: the checkpoint of trial 2 is of other settings; training starts anew." in (
        messages
    )
    other = bdistil.search(tiny(*SPEC, "search.tries_per_class=3", "seed=5"), tmp_path / "other")
    assert same_end(run, other.directory)


def test_short_trials_leave_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Checkpoint] = []
    monkeypatch.setattr(KeptTrainings, "keep", lambda *given: kept.append(given[-1]))
    bdistil.search(tiny(*SPEC), tmp_path / "run")
    assert kept == []


# --- when, and how many --------------------------------------------------------------------------


def state(epochs: int = 3, size: int = 4) -> TrainingState:
    return TrainingState(epochs, 1.5, {"w": torch.arange(size)}, {"losses": [[1, 0.25]]})


def test_checkpoints_are_a_minute_apart_and_cost_a_hundredth(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, taken, takes = 0.0, [], 0.0
    monkeypatch.setattr(checkpointing.time, "monotonic", lambda: now)
    keep = Keeper(lambda checkpoint: taken.append((began, checkpoint.epochs)))

    def take() -> TrainingState:
        nonlocal now
        now += takes
        return state(epoch)

    for epoch in range(1, 61):  # of 25 seconds
        now += 25
        began, takes = now, 2.0 if epoch == 21 else 0.0
        keep(take)
    epochs = [epoch for _, epoch in taken]
    assert epochs[:4] == [3, 6, 9, 12]
    before, slow, *after = [began for began, epoch in taken if epoch >= 18]
    assert slow - before == 75
    assert after[0] - slow >= 200  # the next after a hundred times what it took


def request(number: int) -> TrialRequest:
    params = {"recipe": "accurate", "lr": 0.1 + 0.2}
    return TrialRequest(round=2, number=number, rung=0, attempt=0, params=params, seed=0)


ONE, THREE = Cohort(requests=(request(3),)), Cohort(requests=tuple(map(request, (4, 5, 6))))


@pytest.fixture
def trainings(tmp_path: Path) -> KeptTrainings:
    heard: list[str] = []
    found = KeptTrainings(RunDirectory(tmp_path), heard.append, nullcontext)
    found.open_round(2, "ours", 1)
    return found


def there(folder: Path) -> list[str]:
    return sorted(file.name[:13] for file in folder.rglob("*.*"))


def test_a_running_cohort_has_one_checkpoint_and_an_answered_one_none(
    tmp_path: Path, trainings: KeptTrainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_training, "MOST_WRITING", math.inf)
    for cohort in (ONE, THREE):
        assert trainings.earlier(cohort) is None
        for epochs in (1, 2, 3):
            trainings.keep(cohort, Checkpoint.of(state(epochs)))
    assert there(tmp_path) == ["training-0003", "training-0003", "training-0004", "training-0004"]
    again = trainings.earlier(THREE)
    assert again is not None
    assert again.epochs == 3
    trainings.drop(ONE)
    assert there(tmp_path) == ["training-0004", "training-0004"]
    trainings.keep(ONE, Checkpoint.of(state(4)))  # it came late
    assert there(tmp_path) == ["training-0004", "training-0004"]
    trainings.open_round(3, "later", 1)
    assert there(tmp_path) == []
    trainings.earlier(ONE.model_copy(update={"requests": (request(3),)}))
    trainings.keep(ONE, Checkpoint.of(state(4)))  # of round 2, and number 3 runs in round 3, too
    assert there(tmp_path) == []


def test_the_driver_writes_no_more_than_a_tenth_of_its_time(
    tmp_path: Path, trainings: KeptTrainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, written = 0.0, []
    monkeypatch.setattr(kept_training.time, "monotonic", lambda: now)

    def write(*given: Any) -> None:
        nonlocal now
        written.append((given[1].requests[0].number, now))
        now += 3.0

    monkeypatch.setattr(trainings.files, "write", write)
    trainings.workers = 2
    cohorts = (ONE, THREE)
    for cohort in cohorts:
        trainings.earlier(cohort)
    for _ in range(60):
        now += 10
        for cohort in cohorts:
            trainings.keep(cohort, Checkpoint.of(state()))
    assert 3.0 * len(written) <= 0.1 * now + 2 * 3.0  # beyond the first of each
    assert abs(sum(1 if number == 3 else -1 for number, _ in written)) <= 1  # in turn


def test_a_checkpoint_of_other_values_is_not_taken(
    trainings: KeptTrainings,
) -> None:
    trainings.earlier(ONE)
    trainings.keep(ONE, Checkpoint.of(state()))
    other = request(3).model_copy(update={"params": {"recipe": "accurate", "lr": 0.3}})
    assert trainings.earlier(Cohort(requests=(other,))) is None
    assert trainings.earlier(ONE) is not None


# --- the bytes -----------------------------------------------------------------------------------


def test_a_state_comes_back_as_it_was() -> None:
    before, after = state(), Checkpoint.of(state()).state()
    assert (after.epochs, after.seconds, after.values) == (3, 1.5, before.values)
    assert torch.equal(after.tensors["w"], before.tensors["w"])


@pytest.mark.parametrize("cut", [0, 4, 8, 40, 1])
def test_what_is_no_checkpoint_is_refused(cut: int) -> None:
    content = Checkpoint.of(state()).content
    with pytest.raises(StateError):
        Checkpoint(3, content[:cut] if cut != 1 else content[:-1]).state()
