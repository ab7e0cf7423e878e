"""Trials that train for long and lose their node or their driver: they go on from a checkpoint.

Whatever happens, the search ends with the students of one that nothing happened to, to the bit.
"""

from __future__ import annotations

import json
import math
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import ray
from faulty_searches import faulty_searches, names, same_end
from ray.cluster_utils import Cluster
from reporters import Heard
from tiny import PATIENCE, bdistil, eventually, tiny

from bdistil.cluster import ray_backend
from bdistil.cluster.launch import launch_search
from bdistil.searching import checkpointing, kept_training
from clusters import two_single_workers

pytestmark = pytest.mark.cluster

EPOCHS = 1500
SPEC = (
    "search.rounds=2",
    "search.tries_per_class=1",
    "search.select=best",
    "search.max_failures=0",
    "space.ladder=[3]",
    "space.connection=dense",
    "workers.count=1",
)
LONG = (*SPEC, f"space.epochs={EPOCHS}")
SHORT = (*SPEC, "space.epochs=40")


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    with two_single_workers(__name__) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = tiny(*LONG, "workers.count=0")
    return launch_search(spec, tmp_path_factory.mktemp("whole") / "run").run.path


def checkpoint_epochs(run: Path) -> int:
    """What the last checkpoint of round 2 on disk says; 0 without one."""
    try:
        training = json.loads((run / "open" / "training-0000.json").read_text())
    except FileNotFoundError:
        return 0
    return int(training["epochs"]) if training["cohort"]["requests"][0]["round"] == 2 else 0


@pytest.mark.parametrize("warned", [False, True], ids=["lost", "drained"])
def test_a_trial_whose_node_is_preempted_goes_on_elsewhere(
    nodes: Cluster,
    undisturbed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    warned: bool,
) -> None:
    make, at_work = ray_backend.make_workbench, tmp_path / "at work"

    def makes_often(material: Any) -> Any:
        checkpointing.SECONDS_BETWEEN, checkpointing.MOST_TAKING = 0.2, math.inf
        bench = make(material)
        run = bench.run

        def noted(cohort: Any, should_stop: Any, saves: Any) -> Any:
            with at_work.open("a") as log:
                node = ray.get_runtime_context().get_node_id()
                print(cohort.round, node, saves.earlier and saves.earlier.epochs, file=log)
            return run(cohort, should_stop, saves)

        bench.run = noted
        return bench

    monkeypatch.setattr(ray_backend, "make_workbench", makes_often)
    monkeypatch.setattr(kept_training, "MOST_WRITING", math.inf)
    run, heard = tmp_path / "run", Heard()
    with ThreadPoolExecutor(1) as background:
        search = background.submit(launch_search, tiny(*LONG), run, reporter=heard)
        assert eventually(lambda: search.done() or checkpoint_epochs(run) > 0)
        assert not search.done(), search.exception()
        number, node, earlier = at_work.read_text().split()[-3:]
        assert (number, earlier) == ("2", "None")
        (lost,) = (each for each in nodes.worker_nodes if each.node_id == node)
        if warned:
            drain(nodes.address, node)
        nodes.remove_node(lost, allow_graceful=False)
        search.result(timeout=PATIENCE)
    nodes.add_node(num_cpus=1)
    number, other, earlier = at_work.read_text().split()[-3:]
    assert number == "2"
    assert other != node
    assert 0 < int(earlier) < EPOCHS
    told = [text for text in heard.messages if "goes on" in text]
    assert told == [f"Round 2: trial 0 goes on after epoch {earlier} of {EPOCHS}."]
    assert same_end(run, undisturbed)
    assert names(run) == names(undisturbed)  # no checkpoint among them


def drain(address: str, node: str) -> None:
    """What a cloud's word of a preemption becomes: nothing new is placed there."""
    reason = ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "sold"]
    where = ["--address", address, "--node-id", node, "--deadline-remaining-seconds", "30"]
    command = [sys.executable, "-m", "ray.scripts.scripts", "drain-node", *where, *reason]
    subprocess.run(command, check=True, capture_output=True)


def test_a_trial_whose_driver_is_killed_goes_on_at_resume(nodes: Cluster, tmp_path: Path) -> None:
    run, whole = tmp_path / "run", tmp_path / "whole"
    launch_search(tiny(*SHORT, "workers.count=0"), whole)
    address = ("--address", nodes.address)
    with faulty_searches(tmp_path, SHORT, *address, checkpoints=True) as search:
        done = search(run, "kill", "after training-0000.json")
    assert done.status == -signal.SIGKILL, done.printed
    resumed = bdistil("resume", run, *address)
    assert resumed.returncode == 0, resumed.stderr
    (epoch,) = re.findall(r"Round 1: trial 0 goes on after epoch (\d+) of 40", resumed.stderr)
    assert int(epoch) > 0
    assert same_end(run, whole)
