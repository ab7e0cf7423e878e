"""Cross-fitting on a cluster: each fold's teacher is a Ray task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import ray
import torch
from numpy.typing import NDArray

from bdistil.data.dataset import Dataset
from bdistil.distributed.crossfit import Folds, fit_fold
from bdistil.distributed.tasks import result_of, task_of
from bdistil.distributed.teachers.source import Rows
from bdistil.interrupt import check
from bdistil.modules import UserModule, import_modules
from bdistil.spec import Spec


def fitted_by_workers(
    dataset: Dataset, spec: Spec, folds: Folds
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Each fold's number and logits as they come; `workers.count` are fitted at the same time.

    Raises:
        BdistilError: what went wrong in a training.
        ClusterError: if a fold was lost with several workers.
    """
    workers = spec.workers
    task = task_of(fit_as_task, workers)
    data, modules = ray.put(dataset), import_modules(spec.modules)
    waiting, running = list(folds), dict[Any, int]()
    try:
        while waiting or running:
            while waiting and len(running) < workers.count:
                b = waiting.pop(0)
                running[task.remote(data, spec, folds[b], modules)] = b
            ready, _ = ray.wait(list(running), timeout=1)
            check()
            for each in ready:
                logits = result_of(each, "a fold of teacher.crossfit")
                yield running.pop(each), logits
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
