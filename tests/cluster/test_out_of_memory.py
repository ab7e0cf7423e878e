"""A worker that Ray kills for memory while it trains."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from faulty_searches import same_end
from ray import cloudpickle
from ray.cluster_utils import Cluster
from tiny import tiny

from bdistil.cluster import ray_backend
from bdistil.cluster.launch import launch_search
from clusters import several_nodes

pytestmark = pytest.mark.cluster

GIB = 2**30
ROOM = 5 * GIB  # that a worker may take before its node is low on memory
SPEC = ("search.rounds=2", "search.select=best", "search.algorithm=random")


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    """A head without CPUs, and two nodes for a worker each; the second is soon low on memory."""
    memory = psutil.virtual_memory()
    if memory.available < 2 * ROOM:
        pytest.skip(f"less than {2 * ROOM // GIB} GiB of memory are free")
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import it
    with several_nodes(0, 1) as cluster, pytest.MonkeyPatch.context() as environment:
        limit = (memory.total - memory.available + ROOM) / memory.total
        environment.setenv("RAY_memory_usage_threshold", f"{limit:.4f}")
        environment.setenv("RAY_memory_monitor_refresh_ms", "50")
        cluster.add_node(num_cpus=1, resources={"low": 1})
        yield cluster
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def low_node() -> str:
    (found,) = (node["NodeID"] for node in ray.nodes() if "low" in node["Resources"])
    return str(found)


def eat() -> None:
    """Take memory until Ray ends this process."""
    eaten = []
    for _ in range(5 * ROOM // GIB):
        eaten.append(b"x" * (GIB // 2))
        time.sleep(0.1)
    raise AssertionError("Ray has not ended it")


def test_the_trial_of_a_worker_that_is_killed_for_memory_runs_again(
    nodes: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = launch_search(tiny(*SPEC, "workers.count=0"), tmp_path / "whole").run.path
    make, low, eaten = ray_backend.make_workbench, low_node(), tmp_path / "eaten"

    def wrapped(material: Any) -> Any:
        bench = make(material)
        run = bench.run

        def lost(cohort: Any, should_stop: Any, *saves: Any) -> Any:
            if ray.get_runtime_context().get_node_id() == low and not eaten.exists():
                eaten.touch()
                eat()
            deadline = time.monotonic() + 60
            while not eaten.exists() and time.monotonic() < deadline:
                time.sleep(0.05)  # the other node gets a trial
            return run(cohort, should_stop, *saves)

        bench.run = lost
        return bench

    monkeypatch.setattr(ray_backend, "make_workbench", wrapped)
    launch_search(tiny(*SPEC, "workers.count=2"), tmp_path / "run")
    assert eaten.exists()
    assert same_end(tmp_path / "run", whole)
