"""Trials of the open round on disk: who trains again after an interruption, and who need not.

With real kills of a driver: test_killed_searches.py and tests/cluster/test_faults.py.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from faulty_searches import names, same_end
from fuzzing import damaged, mutated
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tiny

import bdistil
from bdistil.errors import BdistilWarning, CheckpointError
from bdistil.runs.open_round import OpenRoundFiles, kept_candidates
from bdistil.runs.run_directory import RunDirectory
from bdistil.runs.trial import Cohort, TrialAnswer, TrialRequest, TrialResult
from bdistil.searching import kept_trials
from bdistil.searching.backend import ShouldStop
from bdistil.searching.checkpointing import Saves
from bdistil.searching.controller import RoundController
from bdistil.searching.kept_trials import KeptTrials, worth_keeping
from bdistil.searching.local import LocalBackend, make_workbench
from bdistil.searching.loop import drive
from bdistil.searching.simulated import SimulatedBackend, SimulatedTrial
from bdistil.searching.trial_runner import Outcome
from bdistil.searching.workbench import Material
from bdistil.spec import load_spec
from bdistil.store import lease

pytestmark = pytest.mark.filterwarnings("ignore:the teacher's validation metric")


class Killed(BaseException):
    """The end of a driver that nobody catches."""


# --- the order of asking and answering, in virtual time ------------------------------------------


class Listening:
    """A sampler whose values hang on all that it has been told before, and in which order."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.told: tuple[int, ...] = ()

    def open_round(self, number: int) -> None:
        self.told = ()

    def ask(self, round_number: int, number: int, cohort: Any = None, rung: int = 0) -> Any:
        self.events.append(("ask", round_number, number, self.told))
        return {"lr": 0.5, "told": self.told}

    def tell(self, result: TrialResult) -> None:
        self.told += (result.request.number,)
        self.events.append(("tell", result.request.round, result.request.number))


class Virtual(SimulatedBackend):
    """Workers in virtual time; at the end of the `last`-th cohort the driver is killed."""

    def __init__(self, workers: int, plan: Any, last: int | None) -> None:
        super().__init__(workers, plan)
        self.last = last

    def wait(self, until: float | None, should_stop: ShouldStop) -> list[TrialResult]:
        results = super().wait(until, should_stop)
        if results and self.last is not None:
            self.last -= 1
            if self.last < 0:
                raise Killed
        return results

    @property
    def trained(self) -> set[int]:
        return {request.number for request in self.requests}


class Case:
    """How the trials of a round go, by their numbers."""

    def __init__(self, data: st.DataObject, kinds: tuple[str, ...]) -> None:
        many = lambda each: st.lists(each, min_size=8, max_size=8)  # noqa: E731
        self.times = data.draw(many(st.integers(1, 9)))
        self.kinds = data.draw(many(st.sampled_from(kinds)))
        self.weak = data.draw(many(st.booleans()))
        select, cohort = st.sampled_from(("first", "best")), st.sampled_from((1, 3))
        search = {"select": data.draw(select), "cohort": data.draw(cohort), "fallback": "best"}
        search |= {"rounds": 2, "tries_per_class": 4, "max_failures": 99}
        search |= {"grace": 2} if search["select"] == "first" else {}
        self.spec = load_spec(
            {"data": {"name": "cube"}, "space": {"ladder": [4, 8]}, "search": search}
        )

    def plan(self, request: TrialRequest) -> SimulatedTrial:
        kind, number = self.kinds[request.number], request.number
        figures = {"weak": self.weak[number] and kind == "finished", "loss": 1 / (1 + number)}
        status = "finished" if kind == "cheap" else kind
        seconds = 0.0 if kind == "cheap" else 2.0
        return SimulatedTrial(
            self.times[number],
            TrialAnswer.model_validate({"status": status, "seconds": seconds} | figures),
        )

    def run(
        self, folder: Path, workers: int, last: int | None = None
    ) -> tuple[Listening, Virtual, list[TrialResult]]:
        """Round 2 of a search in a folder; what was asked and told, who trained, and the winner."""
        backend, sampler, winners = Virtual(workers, self.plan, last), Listening(), []
        kept = KeptTrials(backend, RunDirectory(folder), lambda _: None)

        def accept(winner: Any) -> None:
            kept.candidate(winner.result.request.number)
            kept.close_round()
            winners.append(winner.result)

        controller = RoundController(self.spec, sampler, accept, rounds_done=1, clock=backend.now)
        kept.open_round(2)
        with suppress(Killed):
            drive(controller, kept, lambda: False)
        return sampler, backend, winners


@settings(max_examples=25)
@given(st.data())
def test_with_one_worker_a_resumed_round_asks_and_is_told_the_same(data: st.DataObject) -> None:
    case = Case(data, ("finished", "finished", "cut", "cheap", "failed"))
    case.kinds[0] = "finished"  # a round in which nothing finishes ends in an error
    with TemporaryDirectory() as folder:
        whole = case.run(Path(folder) / "whole", 1)
        run, never_again = Path(folder) / "run", set[int]()
        for last in sorted(data.draw(st.sets(st.integers(0, 7), max_size=2))):
            _, backend, _ = case.run(run, 1, last)
            assert not backend.trained & never_again
            for cohort in OpenRoundFiles(RunDirectory(run)).read():
                never_again |= {*cohort.numbers}
        sampler, backend, winners = case.run(run, 1)
    assert sampler.events == whole[0].events
    assert winners == whole[2]
    assert not backend.trained & never_again
    for number in never_again:
        assert case.kinds[number] in ("finished", "cut", "cheap")


@settings(max_examples=25)
@given(st.data())
def test_with_several_workers_what_was_told_is_told_in_the_same_order(data: st.DataObject) -> None:
    case = Case(data, ("finished", "finished", "cut"))
    case.kinds[0] = "finished"
    before, after = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    with TemporaryDirectory() as folder:
        killed, _, _ = case.run(Path(folder), before, data.draw(st.integers(0, 5)))
        resumed, backend, _ = case.run(Path(folder), after)
    told = [event for event in killed.events if event[0] == "tell"]
    if told:
        through = 1 + max(i for i, event in enumerate(killed.events) if event[0] == "tell")
        assert resumed.events[:through] == killed.events[:through]
    assert not backend.trained & {number for _, _, number in told}


@pytest.mark.filterwarnings("ignore:.*cannot be used")
@settings(max_examples=25)
@given(st.data())
def test_whatever_is_kept_and_whatever_runs_the_round_comes_to_its_end(data: st.DataObject) -> None:
    """Trials that waited for a turn that never comes would end the simulation with an error.

    Files of no use, or that some other search may have written, change nothing about it.
    """
    case = Case(data, ("finished", "cut", "cheap", "failed"))
    case.kinds[0] = "finished"
    workers, count = st.integers(1, 4), st.integers(0, 9)
    with TemporaryDirectory() as folder:
        case.run(Path(folder), data.draw(workers), data.draw(st.integers(0, 7)))
        files = sorted(Path(folder).glob("open/cohort-*"))
        for file in data.draw(st.sets(st.sampled_from(files))) if files else ():
            found = json.loads(file.read_text())
            found["asked"], found["answered"] = data.draw(count), data.draw(count)
            file.write_text(json.dumps(found))
        case.run(Path(folder), data.draw(workers), data.draw(st.integers(0, 7)))
        _, _, winners = case.run(Path(folder), data.draw(workers))
    assert len(winners) == 1


# --- searches in this process --------------------------------------------------------------------

SPEC = ("search.rounds=2", "search.select=best", "workers.count=0", "search.tries_per_class=4")


@pytest.fixture(autouse=True)
def every_trial_is_worth_keeping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_trials, "worth_keeping", lambda seconds, *_: seconds > 0)


class Bench:
    """A workbench that counts what it trains, and is killed by the first cohort too many."""

    def __init__(self, most: int, spoil: Callable[[Cohort], bool] = lambda _: False) -> None:
        self.left = most
        self.trained: list[tuple[int, int]] = []
        self.spoil = spoil

    def __call__(self, material: Material) -> Bench:
        self.bench = make_workbench(material)
        self.open_round = self.bench.open_round
        return self

    def run(self, cohort: Cohort, should_stop: Callable[[], bool], saves: Saves) -> list[Outcome]:
        if not self.left:
            raise Killed
        self.left -= 1
        self.trained += [(each.round, each.number) for each in cohort.requests]
        if self.spoil(cohort):
            raise OSError("no such luck")
        return self.bench.run(cohort, should_stop, saves)


def search(out: Path | str, *overrides: str, most: int = 99, **options: Any) -> Bench:
    """A search that is killed when it would train one more cohort than `most`."""
    bench = Bench(most, **options)
    with suppress(Killed):
        bdistil.search(tiny(*SPEC, *overrides), out, backend=LocalBackend(bench))
    return bench


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    run = tmp_path_factory.mktemp("whole") / "run"
    return run, len(search(run).trained)


@contextmanager
def told(pattern: str) -> Iterator[None]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    messages = [str(each.message) for each in caught if each.category is BdistilWarning]
    assert len([each for each in messages if pattern in each]) == 1, messages


def test_status_tells_of_what_is_kept_and_nothing_is_left_at_the_end(
    tmp_path: Path, whole: tuple[Path, int], bdistil: Callable[..., Any]
) -> None:
    run, total = tmp_path / "run", whole[1]
    search(run, most=3)
    assert "open round: 3 candidates kept" in bdistil("status", run).printed
    assert json.loads(bdistil("status", run, "--json").printed)["kept_trials"] == 3
    assert len(search(run).trained) == total - 3
    assert same_end(run, whole[0])
    assert names(run) == names(whole[0])
    assert "kept" not in bdistil("status", run).printed


def test_trials_of_less_than_a_second_are_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    search(tmp_path / "run", most=3)
    assert not (tmp_path / "run" / "open").exists()


def test_failed_trials_are_not_kept(tmp_path: Path) -> None:
    run = tmp_path / "run"
    search(run, most=3, spoil=lambda cohort: cohort.requests[0].number == 1)
    again = search(run, most=2, spoil=lambda cohort: cohort.requests[0].number == 1)
    assert again.trained == [(1, 1), (1, 3)]


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


DAMAGES: list[tuple[str, Callable[[Path], Any]]] = [
    ("cohort-0001.json", lambda file: file.write_text("{broken")),
    ("cohort-0001.json", lambda file: file.write_text("[]")),
    ("cohort-0001.json", lambda file: file.write_text(file.read_text().replace("true", "tru"))),
    ("cohort-0001.json", lambda file: file.write_bytes(b"\xff\xfe\x00")),
    ("cohort-0001.json", lambda file: shutil.copy(file.with_name("cohort-0000.json"), file)),
    ("cohort-0001.json", pipe),
    ("candidate-0001.safetensors", flip),
    ("candidate-0001.safetensors", Path.unlink),
    ("candidate-0001.safetensors", pipe),
    ("candidate-0001.safetensors", folder),
]  # fmt: skip


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("interrupted") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kept_trials, "worth_keeping", lambda seconds, *_: seconds > 0)
        search(run, most=3)
    return run


def copied(run: Path, to: Path) -> Path:
    return Path(shutil.copytree(run, to))


@pytest.mark.parametrize(("name", "damage"), DAMAGES)
def test_what_is_damaged_is_told_and_trained_again(
    interrupted: Path, tmp_path: Path, name: str, damage: Callable[[Path], Any]
) -> None:
    run = copied(interrupted, tmp_path / "run")
    damage(run / "open" / name)
    (run / "open" / "notes.txt").write_text("not of a search")
    with told("cohort-0001.json cannot be used"):
        again = search(run, most=2)
    assert again.trained == [(1, 1), (1, 3)]
    assert (run / "open" / "notes.txt").exists()


@settings(max_examples=60)
@given(data=st.data())
def test_files_of_any_content_are_read_or_told(interrupted: Path, data: st.DataObject) -> None:
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", BdistilWarning)
        run = copied(interrupted, Path(folder) / "run")
        file = run / "open" / data.draw(st.sampled_from(sorted(names(run / "open"))))
        content = file.read_bytes()
        if file.suffix == ".json" and data.draw(st.booleans()):
            file.write_text(json.dumps(data.draw(mutated(json.loads(content)))))
        else:
            file.write_bytes(data.draw(damaged(content)))
        files = OpenRoundFiles(RunDirectory(run))
        for cohort in files.read():
            assert all(files.weights(cohort, number) for number in cohort.sha256)
        assert kept_candidates(RunDirectory(run)) <= 3


def test_writing_takes_a_tenth_of_the_drivers_time_at_the_most() -> None:
    assert worth_keeping(1.0, writing=0.01, workers=2)
    assert not worth_keeping(0.9, writing=0.0, workers=1)
    assert worth_keeping(13.0, writing=0.02, workers=64)
    assert not worth_keeping(12.0, writing=0.02, workers=64)


@pytest.mark.parametrize(
    "fault", [{"asked": 0}, {"asked": 1}, {"answered": -1}, {"answered": 9}, {"sha256": {}},
              {"results": []}, {"loss": math.nan}, {"edges": [math.inf]}]
)  # fmt: skip
def test_figures_that_no_search_writes_are_told(
    interrupted: Path, tmp_path: Path, fault: dict[str, Any]
) -> None:
    run = copied(interrupted, tmp_path / "run")
    file = run / "open" / "cohort-0001.json"
    content = json.loads(file.read_text())
    of_trial = content["results"][0]
    (of_trial if {*fault} <= {*of_trial} else content).update(fault)
    file.write_text(json.dumps(content))
    with told("cohort-0001.json cannot be used"):
        assert len(OpenRoundFiles(RunDirectory(run)).read()) == 2


def test_weights_that_change_while_the_search_runs_are_refused(
    interrupted: Path, tmp_path: Path
) -> None:
    run = copied(interrupted, tmp_path / "run")
    files = OpenRoundFiles(RunDirectory(run))
    cohort = files.read()[1]
    assert files.weights(cohort, 1) == (run / "open" / "candidate-0001.safetensors").read_bytes()
    flip(run / "open" / "candidate-0001.safetensors")
    with pytest.raises(CheckpointError, match=r"0001.safetensors is missing or was changed"):
        files.weights(cohort, 1)


OWN = """
from torch import nn

from bdistil.zoo.registry import register_student


@register_student("own", domains=("tabular",), lr=0.01, growth=2.0)
def own(input_shape, width):
    body = nn.Sequential(nn.Linear(*input_shape, width), nn.{activation}())
    body.features = width
    return body
"""


def test_trials_under_other_settings_are_trained_again(interrupted: Path, tmp_path: Path) -> None:
    """Nothing is accepted yet, so the run may become another search."""
    run = copied(interrupted, tmp_path / "run")
    assert search(run, "space.epochs=3", most=2).trained == [(1, 0), (1, 1)]
    assert kept_candidates(RunDirectory(run)) == 2  # the others are gone
    assert search(run, "space.epochs=3", most=1).trained == [(1, 2)]


def test_trials_of_an_own_student_are_trained_again_after_its_code_has_changed(
    tmp_path: Path,
) -> None:
    run, own = tmp_path / "run", tmp_path / "own.py"
    of_own = (f"modules=['{own}']", "space.student=own")
    own.write_text(OWN.format(activation="ReLU"))
    search(run, *of_own, most=2)
    assert search(run, *of_own, most=1).trained == [(1, 2)]
    own.write_text(OWN.format(activation="Tanh"))
    assert search(run, *of_own, most=1).trained == [(1, 0)]


def test_workers_and_budgets_may_change(interrupted: Path, tmp_path: Path) -> None:
    run = copied(interrupted, tmp_path / "run")
    changed = ("search.time_budget=900", "search.max_failures=9", "name=other")
    assert search(run, *changed, most=1).trained == [(1, 3)]


def test_a_limit_of_cost_that_has_changed_counts(tmp_path: Path) -> None:
    run = tmp_path / "run"
    search(run, "goal={keep: 0.99, within: 0.5}", most=2)
    assert search(run, "goal={keep: 0.9, within: 0.5}", most=1).trained == [(1, 2)]
    assert search(run, "goal={keep: 0.9, within: 0.4}", most=1).trained == [(1, 0)]


def test_where_nothing_can_be_kept_a_warning_says_so_once_and_the_search_goes_on(
    tmp_path: Path, whole: tuple[Path, int]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "spec.yaml").write_text(tiny(*SPEC).to_yaml())
    (run / "open").write_text("in the way")
    with told("trials of the open round are not kept"):
        search(run)
    assert same_end(run, whole[0])


def test_at_a_uri_kept_trials_are_sent_and_deleted(
    tmp_path: Path, whole: tuple[Path, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.05)
    bucket = tmp_path / "bucket"
    search(bucket.as_uri(), most=5)
    assert sorted(names(bucket / "open")) == ["candidate-0000.safetensors", "cohort-0000.json"]
    assert len(search(bucket.as_uri()).trained) == whole[1] - 5
    assert same_end(bucket, whole[0])
    assert names(bucket / "open") == set()
