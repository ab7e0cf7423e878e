"""What may break while a search runs, on a real cluster of several nodes.

Whatever it is, the search ends with the students that one worker finds when nothing breaks.
"""

from __future__ import annotations

import functools
import math
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from faulty_searches import (
    FULL_DISKS,
    KILLS,
    Search,
    check_full_disk,
    check_kills,
    faulty_searches,
    same_end,
    small_file_system,
)
from ray.cluster_utils import Cluster
from tiny import PATIENCE, students, tiny

from bdistil.cluster import ray_backend
from bdistil.cluster.launch import launch_search
from bdistil.core import trainer
from bdistil.errors import ClusterError, SearchError
from bdistil.runs.open_round import OpenRoundFiles
from bdistil.runs.run_directory import RunDirectory
from clusters import two_single_workers

pytestmark = pytest.mark.cluster

ROUNDS = 4
SPEC = (
    f"search.rounds={ROUNDS}",
    "search.select=best",  # with random sampling, the same whoever finishes first
    "search.algorithm=random",
    "search.max_failures=0",
)
Run = Callable[..., Any]
Wrap = Callable[[Run], Run]
Trials = Callable[[Wrap], None]


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    with two_single_workers(__name__) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = tiny(*SPEC, "workers.count=0")  # to the bit what one worker finds
    return launch_search(spec, tmp_path_factory.mktemp("whole") / "run").run.path


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> Trials:
    """Puts something around what workers run for each trial."""

    def install(wrap: Wrap) -> None:
        make = ray_backend.make_workbench

        def wrapped(material: Any) -> Any:
            bench = make(material)
            bench.run = wrap(bench.run)
            return bench

        monkeypatch.setattr(ray_backend, "make_workbench", wrapped)

    return install


def once(marker: Path) -> bool:
    """True for the first who asks, on any node."""
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def wait_until(condition: Callable[[], bool], search: Future[Any] | None = None) -> None:
    """Wait for what happens elsewhere; a search that has ended meanwhile cannot bring it about."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        assert search is None or not search.done(), search.exception()
        time.sleep(0.02)


# --- workers and nodes ---------------------------------------------------------------------------


def test_trials_of_a_killed_worker_and_of_a_lost_node_are_run_again(
    nodes: Cluster, uninterrupted: Path, tmp_path: Path, trials: Trials
) -> None:
    killed, marker = tmp_path / "killed", tmp_path / "node"

    def wrap(run: Run) -> Run:
        def lost(cohort: Any, should_stop: Any, *saves: Any) -> Any:
            if cohort.round == 2 and once(killed):
                os.kill(os.getpid(), signal.SIGKILL)
            if cohort.round == 3 and once(marker):
                marker.write_text(ray.get_runtime_context().get_node_id())
                time.sleep(1000)  # until the node is gone
            return run(cohort, should_stop, *saves)

        return lost

    trials(wrap)
    with ThreadPoolExecutor(1) as background:
        search = background.submit(launch_search, tiny(*SPEC, "workers.count=2"), tmp_path / "run")
        wait_until(lambda: marker.exists() and marker.read_text() != "", search)
        assert killed.exists()
        (lost,) = (node for node in nodes.worker_nodes if node.node_id == marker.read_text())
        nodes.remove_node(lost, allow_graceful=False)
        nodes.add_node(num_cpus=1)  # another joins
        search.result(timeout=PATIENCE)
    assert same_end(tmp_path / "run", uninterrupted)


def test_workers_that_cannot_start_end_the_search_with_their_reason(
    nodes: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(material: Any) -> Any:
        raise OSError("no such GPU")

    monkeypatch.setattr(ray_backend, "make_workbench", broken)
    with pytest.raises(SearchError, match=r"2 workers in a row .* first trial: OSError: no such"):
        launch_search(tiny(*SPEC), tmp_path / "run")


def test_a_lost_board_ends_the_search_and_the_same_command_goes_on(
    nodes: Cluster, uninterrupted: Path, tmp_path: Path, trials: Trials
) -> None:
    marker, gone = tmp_path / "training", tmp_path / "gone"

    def wrap(run: Run) -> Run:
        def waiting(cohort: Any, should_stop: Any, *saves: Any) -> Any:
            if cohort.round == 2 and once(marker):
                wait_until(gone.exists)
            return run(cohort, should_stop, *saves)

        return waiting

    trials(wrap)
    with ThreadPoolExecutor(1) as background:
        search = background.submit(launch_search, tiny(*SPEC), tmp_path / "run")
        wait_until(marker.exists, search)
        raylet = psutil.Process(nodes.head_node.all_processes["raylet"][0].process.pid)
        for process in raylet.children(recursive=True):
            if "ray::Board" in " ".join(process.cmdline()):
                process.kill()
        gone.touch()
        with pytest.raises(
            ClusterError, match=r"the same command goes on after the last accepted round"
        ):
            search.result(timeout=PATIENCE)
    launch_search(tiny(*SPEC), tmp_path / "run")
    assert same_end(tmp_path / "run", uninterrupted)


@pytest.mark.parametrize(
    ("workers", "others"),
    [
        (2, ()),
        pytest.param(
            1, ("search.pruner=halving", "search.algorithm=tpe"), marks=pytest.mark.nightly
        ),
    ],
)
def test_candidates_of_the_open_round_outlive_a_killed_driver(
    nodes: Cluster, tmp_path: Path, trials: Trials, workers: int, others: tuple[str, ...]
) -> None:
    more = (*SPEC, "search.tries_per_class=6", "search.rounds=2", "space.ladder=[3]", *others)
    whole = launch_search(tiny(*more, "workers.count=0"), tmp_path / "whole").run
    run, log = tmp_path / "run", tmp_path / "trained"
    spec = (*more, f"workers.count={workers}")
    with faulty_searches(tmp_path, spec, "--address", nodes.address, keeps=True) as search:
        done = search(run, "kill", "after cohort-0003.json")
    assert done.status == -signal.SIGKILL, done.printed
    kept = {n for each in OpenRoundFiles(RunDirectory(run)).read() for n in each.numbers}
    assert len(kept) >= 3  # of two workers, the other one may have been at number 2

    def wrap(run: Run) -> Run:
        def noted(cohort: Any, should_stop: Any, *saves: Any) -> Any:
            with log.open("a") as file:
                file.write(f"{cohort.round} {cohort.requests[0].number}\n")
            return run(cohort, should_stop, *saves)

        return noted

    trials(wrap)
    launch_search(tiny(*spec), run)
    trained = [tuple(map(int, line.split())) for line in log.read_text().splitlines()]
    all_trials = [(r.round, t.request.number) for r in whole.journal.read() for t in r.compared]
    assert sorted(trained) == sorted({*all_trials} - {(1, number) for number in kept})
    assert same_end(run, whole.path)


# --- trials --------------------------------------------------------------------------------------


def test_of_two_that_finish_at_the_same_moment_exactly_one_is_kept(
    nodes: Cluster, tmp_path: Path, trials: Trials
) -> None:
    def wrap(run: Run) -> Run:
        def together(cohort: Any, should_stop: Any, *saves: Any) -> Any:
            if cohort.round == 1:  # which keeps the best of all, whoever is first
                return run(cohort, should_stop, *saves)
            (outcome,) = run(cohort, lambda: False)
            (tmp_path / f"{cohort.round}-{cohort.requests[0].number}").touch()
            wait_until(lambda: len(list(tmp_path.glob(f"{cohort.round}-*"))) == 2)
            return [(outcome[0].model_copy(update={"weak": True}), outcome[1])]

        return together

    trials(wrap)
    spec = tiny(*SPEC, "search.select=first", "space.ladder=[3]", "workers.count=2")
    run = launch_search(spec, tmp_path / "run").run
    records = run.journal.read()
    assert [record.round for record in records] == [1, 2, 3, 4]
    assert [len(record.trials) for record in records[1:]] == [1] * (ROUNDS - 1)  # one came too late
    assert list(students(run.path).values()) == [record.sha256 for record in records]


def test_a_loser_whose_epoch_never_ends_makes_way_for_the_next_round(
    nodes: Cluster, tmp_path: Path, trials: Trials
) -> None:
    def wrap(run: Run) -> Run:
        def endless(cohort: Any, should_stop: Any, *saves: Any) -> Any:
            if cohort.round == 1:
                return run(cohort, should_stop, *saves)
            loser = tmp_path / f"loser of round {cohort.round}"
            if cohort.requests[0].number == 0:
                wait_until(loser.exists)
                ((result, weights),) = run(cohort, should_stop, *saves)
                return [(result.model_copy(update={"weak": True}), weights)]
            batches = trainer.shuffled_batches
            epoch = functools.partial(endless_epoch, batches, loser)
            trainer.shuffled_batches = epoch  # in the worker's process
            try:
                return run(cohort, should_stop, *saves)
            finally:
                trainer.shuffled_batches = batches

        return endless

    trials(wrap)
    spec = tiny(*SPEC, "search.select=first", "space.ladder=[3]", "workers.count=2")
    run = launch_search(spec, tmp_path / "run").run
    records = run.journal.read()
    assert [record.result.request.number for record in records[1:]] == [0] * (ROUNDS - 1)
    assert [len(record.stopped) for record in records[1:]] == [1] * (ROUNDS - 1)
    assert len(list(tmp_path.glob("loser of round *"))) == ROUNDS - 1


def endless_epoch(batches: Run, started: Path, *arguments: Any) -> Iterator[Any]:
    started.touch()
    while True:
        yield from batches(*arguments)


def raises(cohort: Any, should_stop: Any, *saves: Any) -> Any:
    raise ValueError("no such thing")


def answers_nan(run: Run) -> Run:
    def nan(cohort: Any, should_stop: Any, *saves: Any) -> Any:
        return [
            (r.model_copy(update={"loss": math.nan}), w)
            for r, w in run(cohort, should_stop, *saves)
        ]

    return nan


@pytest.mark.parametrize(
    ("wrap", "reason"),
    [
        (lambda run: raises, "ValueError: no such thing"),
        pytest.param(answers_nan, "loss is nan", marks=pytest.mark.nightly),
    ],
)
def test_trials_that_always_fail_use_up_the_error_budget(
    nodes: Cluster, tmp_path: Path, trials: Trials, wrap: Wrap, reason: str
) -> None:
    trials(wrap)
    sentence = rf"3 trials failed, more than search.max_failures=2; the last one: .*{reason}"
    with pytest.raises(SearchError, match=sentence):
        launch_search(tiny(*SPEC, "search.max_failures=2"), tmp_path / "run")
    assert RunDirectory(tmp_path / "run").journal.read() == []


# --- the driver ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def search(nodes: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Search]:
    """The command on the cluster, in a process of its own, with a fault at some moment."""
    folder = tmp_path_factory.mktemp("driver")
    with faulty_searches(folder, SPEC, "--address", nodes.address) as call:
        yield call


@pytest.mark.parametrize(
    "kills",
    [
        [each for each in KILLS if each[1] == "before record 2"],
        pytest.param(KILLS, marks=pytest.mark.nightly),
    ],
    ids=["mid-round", "all"],
)
def test_a_driver_killed_at_boundaries_loses_nothing_accepted(
    search: Search, uninterrupted: Path, tmp_path: Path, kills: Sequence[tuple[str, str]]
) -> None:
    check_kills(search, tmp_path, kills, uninterrupted)


# --- the disk ------------------------------------------------------------------------------------


@pytest.mark.nightly  # tests/searching/test_killed_searches.py has it in one process
def test_a_full_disk_ends_the_search_in_one_sentence_and_room_lets_it_go_on(
    search: Search, uninterrupted: Path, tmp_path: Path
) -> None:
    with small_file_system(tmp_path / "disk") as mounted:
        if not mounted:
            pytest.skip("mounting a small file system takes root")
        check_full_disk(search, tmp_path / "disk", FULL_DISKS, uninterrupted)
