"""Plain Ray tasks for what is no trial: searches of an experiment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from bdistil.cluster.lost_worker import error_within, why_lost
from bdistil.errors import BdistilError, ClusterError
from bdistil.interrupt import check
from bdistil.spec import WorkerSpec

RERUNS = 2  # of a task whose worker was lost


def task_of(function: Callable[..., Any], workers: WorkerSpec) -> Any:
    """The function as a task that takes what a trial takes."""
    return ray.remote(function).options(
        num_cpus=workers.cpus, num_gpus=workers.gpus, max_retries=RERUNS
    )


def as_they_end(
    tasks: list[Any], meanwhile: Callable[[], object] = lambda: None
) -> Iterator[tuple[Any, Any]]:
    """Each task and its result, in the order in which they end.

    Args:
        tasks: that run.
        meanwhile: called about once a second while none ends.

    Raises:
        BdistilError: what a task raised.
        ClusterError: if one has lost worker after worker.
    """
    while tasks:
        ready, tasks = ray.wait(tasks, timeout=1)
        check()
        if not ready:
            meanwhile()
            continue
        [task] = ready
        yield task, result_of(task)


def result_of(task: Any, what: str = "a task") -> Any:
    """What a task gives; for errors, which name `what` was lost, see :func:`as_they_end`."""
    try:
        return ray.get(task)
    except RayError as error:
        cause = error_within(error)
        if isinstance(cause, BdistilError):
            raise cause from None
        if isinstance(error, RayTaskError) and not isinstance(cause, RayError):
            raise
        raise ClusterError(
            f"{what} was lost with {RERUNS + 1} workers: {why_lost(str(error))}; the same command "
            f"goes on with what is missing."
        ) from error
