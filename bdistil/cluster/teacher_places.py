"""How much of a cluster the teacher takes: as much as all trials together, as far as it is free."""

from __future__ import annotations

import math
import time
import warnings
from typing import NamedTuple

from bdistil.cluster.connect import alive_nodes, free_nodes, room, scales, told_resources
from bdistil.errors import BdistilWarning
from bdistil.spec import WorkerSpec
from bdistil.words import counted

SECONDS_TO_SETTLE = 2.0  # for what was let go a moment ago, as by the workers of folds


class Places(NamedTuple):
    """Where a teacher is trained.

    Attributes:
        workers: that train it together.
        cpus: of each.
        gpus: of each.
    """

    workers: int
    cpus: float
    gpus: float

    def __str__(self) -> str:
        if self.workers == 1:
            return f"a worker with {told_resources(self.cpus, self.gpus)} on one node"
        return f"{self.workers} workers with {told_resources(self.cpus, self.gpus)} each"


def places_to_be_had(asked: int, workers: WorkerSpec) -> Places:
    """Room for as many workers as asked for, or for as many as there is.

    Each takes its part of what all trials would, and less where only so all find room; a whole GPU
    at least if trials use GPUs, since no two of them can share one. A cluster that adds nodes is
    asked for all.
    """
    if asked > 1:
        gpus = max(1.0, workers.gpus) if workers.gpus else 0.0
        most = max(workers.cpus, float(math.floor(most_cpus(workers, asked))))
        if scales(workers):
            return Places(asked, most, gpus)
        found, started = best_places(asked, most, gpus, workers), time.monotonic()
        while found.workers < asked and time.monotonic() - started < SECONDS_TO_SETTLE:
            time.sleep(0.2)
            found = best_places(asked, most, gpus, workers)
        if found.workers < asked:
            warnings.warn(
                f"teacher.workers is {asked}, but there is room for {found.workers} with "
                f"{told_resources(found.cpus, gpus)} each now, so "
                f"{found.workers if found.workers > 1 else 'one'} trains the teacher.",
                BdistilWarning,
                stacklevel=2,
            )
        if found.workers > 1:
            return found
    return Places(1, cpus_to_be_had(workers), most_gpus(workers))


def best_places(asked: int, most: float, gpus: float, workers: WorkerSpec) -> Places:
    """For all with as many CPUs as that allows, from `most` down to a trial's, else for fewer."""
    cpus = most
    while (free := free_places(cpus, gpus, workers)) < asked and cpus > workers.cpus:
        cpus = max(workers.cpus, cpus - 1)
    return Places(min(asked, free), cpus, gpus)


def free_places(cpus: float, gpus: float, workers: WorkerSpec) -> int:
    """How many workers of so much fit on what is free."""
    each = workers.model_copy(update={"cpus": cpus, "gpus": gpus})
    return sum(room(node, each) for node in free_nodes())


def most_gpus(workers: WorkerSpec) -> float:
    """GPUs of the teacher: what a trial has, of shared ones as much as all trials have of one."""
    return workers.gpus if workers.gpus >= 1 else min(1.0, workers.gpus * workers.trials)


def cpus_to_be_had(workers: WorkerSpec) -> float:
    """CPUs of the teacher: what it would take, or what is free now; on a full cluster a trial's.

    A cluster that adds nodes is asked for all.
    """
    wanted, gpus = most_cpus(workers), most_gpus(workers)
    if scales(workers):
        return wanted
    free, started = most_free(gpus), time.monotonic()
    while free < wanted and time.monotonic() - started < SECONDS_TO_SETTLE:
        time.sleep(0.2)
        free = most_free(gpus)
    cpus = max(workers.cpus, min(wanted, free))
    if cpus < wanted:
        rest = "the rest of its node is" if free >= workers.cpus else "the whole cluster is"
        warnings.warn(
            f"the teacher is trained with {told_resources(cpus, gpus)} instead of "
            f"{counted(wanted, 'CPU')}, as {rest} in use"
            f"{'' if free >= workers.cpus else '; it waits for a place'}.",
            BdistilWarning,
            stacklevel=2,
        )
    return cpus


def most_free(gpus: float) -> float:
    """The most CPUs that are free on a node with so many free GPUs."""
    return max(
        (node.get("CPU", 0) for node in free_nodes() if node.get("GPU", 0) >= gpus), default=0
    )


def most_cpus(workers: WorkerSpec, parts: int = 1) -> float:
    """CPUs of the teacher, who works alone: those of all trials, as far as one node has them.

    Of its `parts`, each has its part of them.
    """
    nodes = [node for node in alive_nodes() if node.get("GPU", 0) >= workers.gpus]
    largest = max((node.get("CPU", 0) for node in nodes), default=workers.cpus)
    return max(workers.cpus, min(largest, workers.cpus * workers.trials / parts))
