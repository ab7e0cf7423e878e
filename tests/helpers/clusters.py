"""Ray for tests: one on this machine that many share, or several nodes of a module's own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray import cloudpickle
from ray.cluster_utils import Cluster
from tiny import eventually

CPUS = 2


def share_local_ray() -> None:
    """Be in the Ray that tests share, with all of its CPUs free; it starts at the first call."""
    if not ray.is_initialized():
        ray.init(address="local", num_cpus=CPUS, include_dashboard=False, log_to_driver=False)
    free = eventually(lambda: ray.available_resources().get("CPU", 0) == CPUS)
    assert free, "an earlier test's workers are still at work"


@contextmanager
def several_nodes(*cpus: int, **head: Any) -> Iterator[Cluster]:
    """A cluster whose nodes have so many CPUs each, the head first, instead of the shared Ray."""
    ray.shutdown()
    head = {"num_cpus": cpus[0], "include_dashboard": False} | head
    cluster = Cluster(initialize_head=True, head_node_args=head)
    for count in cpus[1:]:
        cluster.add_node(num_cpus=count)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@contextmanager
def two_single_workers(module: str) -> Iterator[Cluster]:
    """A head without CPUs and two nodes for a worker each, who get a test's module with its code.

    A lost node is noticed in seconds.
    """
    cloudpickle.register_pickle_by_value(sys.modules[module])  # workers cannot import it
    with several_nodes(0, 1, 1, _system_config={"health_check_period_ms": 500}) as cluster:
        yield cluster
    cloudpickle.unregister_pickle_by_value(sys.modules[module])
