"""Cross-fitting on a cluster: Ray actors fit the folds' teachers.

Actors and no tasks, because it must be possible to stop them at any moment: Ray (2.60) aborts the
driver's process when `ray.cancel` meets the task's own answer, `ray.kill` of an actor does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import ray
import torch
from numpy.typing import NDArray

from bdistil.cluster.lost_worker import losses_named
from bdistil.cluster.tasks import RERUNS, result_of
from bdistil.data.dataset import Dataset
from bdistil.interrupt import check
from bdistil.spec import Spec
from bdistil.spec.user_modules import UserModule, import_modules
from bdistil.teachers.crossfit import Folds, fit_fold
from bdistil.teachers.source import Rows


def fit_on_workers(
    dataset: Dataset, spec: Spec, folds: Folds
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Each fold's number and logits as they come; `workers.count` are fitted at the same time.

    Raises:
        BdistilError: what went wrong in a training.
        ClusterError: if a fold was lost with several workers.
    """
    workers = spec.workers
    fitter = ray.remote(Fitter).options(
        num_cpus=workers.cpus,
        num_gpus=workers.gpus,
        max_restarts=-1,
        max_task_retries=RERUNS,
    )
    modules = import_modules(spec.modules)
    with losses_named():
        data = ray.put(dataset)
    waiting, running = list(folds), dict[Any, tuple[int, Any]]()
    hired: list[Any] = [fitter.remote() for _ in range(min(workers.trials, len(folds)))]
    idle = list(hired)
    try:
        while waiting or running:
            while waiting and idle:
                b, actor = waiting.pop(0), idle.pop()
                running[actor.fit.remote(data, spec, folds[b], modules)] = b, actor
            ready, _ = ray.wait(list(running), timeout=1)
            check()
            for each in ready:
                b, actor = running.pop(each)
                if waiting:
                    idle.append(actor)
                else:
                    ray.kill(actor)  # room for one that could not be placed so far
                yield b, result_of(each, "a fold of teacher.crossfit")
    finally:
        for actor in hired:
            ray.kill(actor)


class Fitter:
    """A worker that fits a fold's teacher."""

    def fit(
        self, dataset: Dataset, spec: Spec, rows: Rows, modules: Sequence[UserModule]
    ) -> NDArray[np.float32]:
        """The logits of one fold."""
        torch.set_num_threads(max(1, int(spec.workers.cpus)))
        for module in modules:
            module.load()
        return fit_fold(dataset, spec, rows)
