"""Cross-fitting on a cluster: each fold's teacher is a Ray task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import ray
import torch
from numpy.typing import NDArray
from ray.exceptions import RayError, RayTaskError

from bdistil.data.dataset import Dataset
from bdistil.distributed.crossfit import Folds, fit_fold
from bdistil.distributed.lost_worker import why_lost
from bdistil.distributed.teachers.source import Rows
from bdistil.errors import BdistilError, ClusterError
from bdistil.modules import UserModule, import_modules
from bdistil.spec import Spec

RERUNS = 2  # of a task whose worker was lost


def fitted_by_workers(
    dataset: Dataset, spec: Spec, folds: Folds
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Each fold's number and logits as they come; `workers.count` are fitted at the same time.

    Raises:
        BdistilError: what went wrong in a training.
        ClusterError: if a fold was lost with several workers.
    """
    workers = spec.workers
    task = ray.remote(fit_as_task).options(
        num_cpus=workers.cpus, num_gpus=workers.gpus, max_retries=RERUNS
    )
    data, modules = ray.put(dataset), import_modules(spec.modules)
    waiting, running = list(folds), dict[Any, int]()
    try:
        while waiting or running:
            while waiting and len(running) < workers.count:
                b = waiting.pop(0)
                running[task.remote(data, spec, folds[b], modules)] = b
            [ready], _ = ray.wait(list(running))
            logits = result_of(ready)
            yield running.pop(ready), logits
    finally:
        for reference in running:
            ray.cancel(reference, force=True)


def fit_as_task(
    dataset: Dataset, spec: Spec, rows: Rows, modules: Sequence[UserModule]
) -> NDArray[np.float32]:
    """In a worker: the logits of one fold."""
    torch.set_num_threads(max(1, int(spec.workers.cpus)))
    for module in modules:
        module.load()
    return fit_fold(dataset, spec, rows)


def result_of(task: Any) -> NDArray[np.float32]:
    """The logits that a task gives.

    Raises:
        BdistilError: as it was raised there.
        ClusterError: if its worker was lost again and again.
    """
    try:
        logits: NDArray[np.float32] = ray.get(task)
    except RayTaskError as error:
        if isinstance(error.cause, BdistilError):
            raise error.cause from None
        raise
    except RayError as error:
        raise ClusterError(
            f"a fold of teacher.crossfit was lost with {RERUNS + 1} workers: "
            f"{why_lost(str(error))}; the same command goes on with the folds that are missing."
        ) from error
    return logits
