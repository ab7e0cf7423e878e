"""Workers, players, drivers and nodes killed at random moments, many times over one search.

Whatever is killed when, the search ends with the students that it finds when nothing is.
"""

from __future__ import annotations

import contextlib
import random
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from faulty_searches import Search, faulty_searches, same_end
from ray.cluster_utils import Cluster
from tally import tally
from tiny import eventually, tiny, winners

from bdistil.cluster.launch import launch_search
from clusters import several_nodes

pytestmark = [pytest.mark.cluster, pytest.mark.nightly]

ROUNDS = 12
SPEC = (
    f"search.rounds={ROUNDS}",
    "search.select=best",  # with random sampling, the same whoever finishes first
    "search.algorithm=random",
    "search.max_failures=0",
)
A_LIFE = 2  # workers killed in a driver's life: a third may hit the same trial, which then fails
ROLES = ("ray::ImplicitFunc", "ray::TrialWorker", "ray::Player")


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    """A head without CPUs, and two nodes for a worker each."""
    with several_nodes(0, 1, 1, _system_config={"health_check_period_ms": 500}) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = tiny(*SPEC, "workers.count=0")
    return launch_search(spec, tmp_path_factory.mktemp("whole") / "run").run.path


class Killer(threading.Thread):
    """Kills some of the workers and players of a cluster at random moments."""

    def __init__(self, cluster: Cluster, most: int, draw: random.Random) -> None:
        super().__init__(daemon=True)
        nodes = [cluster.head_node, *cluster.worker_nodes]
        self.raylets = [node.all_processes["raylet"][0].process.pid for node in nodes]
        self.most = most
        self.draw = draw
        self.killed = 0
        self.over = threading.Event()

    def run(self) -> None:
        while self.killed < self.most and not self.over.wait(self.draw.uniform(0, 3)):
            if found := list(self.victims()):
                with contextlib.suppress(psutil.NoSuchProcess):
                    self.draw.choice(found).kill()
                    self.killed += 1

    def victims(self) -> Iterator[psutil.Process]:
        """Processes at work for the search."""
        for raylet in self.raylets:
            for process in psutil.Process(raylet).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    if any(role in " ".join(process.cmdline()) for role in ROLES):
                        yield process

    def __enter__(self) -> Killer:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.over.set()
        self.join()


@pytest.mark.parametrize(("workers", "kills"), [(2, 50), (1, 15)])
def test_workers_and_drivers_killed_at_random_change_nothing(
    nodes: Cluster, uninterrupted: Path, tmp_path: Path, workers: int, kills: int
) -> None:
    draw, killed, number, run = random.Random(kills), 0, 0, tmp_path / "0"
    options = ("--address", nodes.address)
    with faulty_searches(tmp_path, (*SPEC, f"workers.count={workers}"), *options) as search:
        while killed < kills:
            killed += life(search, run, nodes, draw)
            kept = winners(run) if run.exists() else []
            assert kept == winners(uninterrupted)[: len(kept)]
            if len(kept) == ROUNDS and killed < kills:  # it is through: once more from the start
                number += 1
                run = tmp_path / str(number)
        done = search(run, "kill", "never")
    assert done.status == 0, done.printed
    assert same_end(run, uninterrupted)
    tally(f"kills of workers and drivers on a cluster, {workers} at work", killed)


def life(search: Search, run: Path, nodes: Cluster, draw: random.Random) -> int:
    """One start of the command, with kills; their number."""
    with Killer(nodes, A_LIFE, draw) as killer:
        done = search(run, "kill", f"write {draw.randint(3, 16)}")
    assert done.status in (0, -signal.SIGKILL), done.printed
    return killer.killed + (done.status != 0)


def test_nodes_that_die_while_others_join_change_nothing(
    nodes: Cluster, uninterrupted: Path, tmp_path: Path
) -> None:
    draw, lost, run = random.Random(0), 0, tmp_path / "run"
    with ThreadPoolExecutor(1) as background:
        search = background.submit(launch_search, tiny(*SPEC, "workers.count=2"), run)
        while rounds(run, search) < ROUNDS:
            before = rounds(run, search)
            time.sleep(draw.uniform(0, 2))
            nodes.remove_node(draw.choice(list(nodes.worker_nodes)), allow_graceful=False)
            nodes.add_node(num_cpus=1)
            lost += 1
            # One node a round: a trial that loses three workers counts as failed.
            assert eventually(lambda seen=before: rounds(run, search) > seen)  # type: ignore[misc]
        search.result()
    assert lost >= 3
    assert same_end(run, uninterrupted)
    tally("nodes killed while others joined", lost)


def rounds(run: Path, search: Future[Any]) -> int:
    """Accepted rounds so far; all, once the search has ended."""
    if search.done():
        search.result()
        return ROUNDS
    journal = run / "rounds.jsonl"
    return journal.read_bytes().count(b"\n") if journal.exists() else 0
