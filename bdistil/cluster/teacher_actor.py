"""The teacher on a cluster: an actor trains it and answers for it, with its node's GPU and CPUs.

The machine that a search is started on is often one without a GPU.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import ray
import torch
from numpy.typing import NDArray
from torch import nn

from bdistil.cluster.connect import alive_nodes, free_nodes, scales
from bdistil.cluster.lost_worker import losses_named
from bdistil.cluster.tasks import RERUNS, result_of
from bdistil.core.progressive_ensemble import chunks
from bdistil.data.dataset import Dataset, Split
from bdistil.errors import BdistilWarning
from bdistil.interrupt import check
from bdistil.spec import Spec, WorkerSpec
from bdistil.spec.user_modules import UserModule, import_modules
from bdistil.teachers.answers import on_disk
from bdistil.teachers.select import teacher_source
from bdistil.teachers.source import AnswerProgress, EpochProgress, Teacher
from bdistil.teachers.teacher_store import SPLITS

ROWS = 8192  # that are asked about at once
SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_TO_SETTLE = 2.0  # for what was let go a moment ago, as by the workers of folds
SECONDS_BEFORE_WORD = 30.0  # of waiting for a worker; one takes some ten to start

Asked = tuple[str, slice] | Split
"""Rows of a split of the lesson's, by its name, or other examples."""


class Known(NamedTuple):
    """What the driver learns of a teacher."""

    flops: int | None
    parameters: int | None
    network: nn.Module | None
    seconds: float | None


class Lesson(NamedTuple):
    """What a teacher is trained by.

    Attributes:
        dataset: to learn from.
        spec: of the search.
        modules: the user's own code.
        threads: of torch.
    """

    dataset: Dataset
    spec: Spec
    modules: Sequence[UserModule]
    threads: int


class Trainer:
    """A worker that trains the teacher when it is first asked, once more if it was lost.

    So each call comes with the lesson: arguments of a constructor would not outlive a restart.
    """

    def __init__(self) -> None:
        self.epoch: tuple[int, int, float] | None = None
        self.trained: Teacher | None = None

    def teacher(self, lesson: Lesson) -> Teacher:
        """The trained teacher."""
        if self.trained is None:
            torch.set_num_threads(lesson.threads)
            for module in lesson.modules:
                module.load()
            source = teacher_source(lesson.dataset, lesson.spec)
            self.trained = source.obtain(progress=self.note)
        return self.trained

    def note(self, epoch: int, epochs: int, metric: float) -> None:
        """Remember how far training is, for the driver."""
        self.epoch = epoch, epochs, metric

    def known(self, lesson: Lesson) -> Known:
        """Train, and tell what the driver keeps."""
        made = self.teacher(lesson)
        network = None if made.network is None else made.network.cpu()
        return Known(made.flops, made.parameters, network, made.seconds)

    def progress(self) -> tuple[int, int, float] | None:
        """The last epoch, epochs and validation metric; None before the first."""
        return self.epoch

    def logits(self, lesson: Lesson, asked: Asked) -> NDArray[np.float32]:
        """The teacher's answers, float32 (n, L)."""
        split = asked
        if not isinstance(split, Split):
            name, rows = split
            split = getattr(lesson.dataset, name).take(rows)
        return np.array(self.teacher(lesson).logits(split, None))


@contextmanager
def teacher_on_worker(
    dataset: Dataset, spec: Spec, progress: EpochProgress | None = None
) -> Iterator[Teacher]:
    """A teacher that a worker trains and that answers from there until the block ends.

    Raises:
        BdistilError: what went wrong in the training.
        ClusterError: if it was lost with several workers.
    """
    cpus = cpus_to_be_had(spec.workers)
    remote: Any = ray.remote  # whose types do not know concurrency groups
    actor = (
        remote(concurrency_groups={"telling": 1})(Trainer)
        .options(
            num_cpus=cpus,
            num_gpus=most_gpus(spec.workers),
            max_restarts=-1,
            max_task_retries=RERUNS,
        )
        .remote()
    )
    modules = import_modules(spec.modules)
    with losses_named():
        lesson = ray.put(Lesson(dataset, spec, modules, max(1, int(cpus))))
    try:
        wait_until_up(actor, cpus, most_gpus(spec.workers))
        known: Known = awaited(actor, actor.known.remote(lesson), progress)

        def logits(split: Split, answered: AnswerProgress | None = None) -> NDArray[np.float32]:
            outputs = on_disk(len(split), dataset.outputs)
            name = next((name for name in SPLITS if getattr(dataset, name) is split), None)
            for rows in chunks(len(split), ROWS):
                asked: Asked = split.take(rows) if name is None else (name, rows)
                outputs[rows] = awaited(actor, actor.logits.remote(lesson, asked), None)
                if answered is not None:
                    answered(min(rows.stop, len(split)), len(split))
            return outputs

        yield Teacher(logits, *known)
    finally:
        ray.kill(actor)


def wait_until_up(actor: Any, cpus: float, gpus: float) -> None:
    """Wait for the actor's worker, and say so if that takes long."""
    up, started = actor.progress.remote(), time.monotonic()
    said = False
    while not ray.wait([up], timeout=SECONDS_BETWEEN_LOOKS)[0]:
        check()
        if not said and time.monotonic() - started > SECONDS_BEFORE_WORD:
            said = True
            warnings.warn(
                f"the teacher waits for a worker with {told_resources(cpus, gpus)} on one node: "
                f"the cluster is busy or the worker is slow to start (`ray status` tells).",
                BdistilWarning,
                stacklevel=2,
            )


def awaited(actor: Any, task: Any, progress: EpochProgress | None) -> Any:
    """What a task of the actor gives; each new epoch is told while it lasts."""
    told = None
    while True:
        ready, _ = ray.wait([task], timeout=SECONDS_BETWEEN_LOOKS)
        check()
        if progress is not None:
            telling = actor.progress.options(concurrency_group="telling").remote()
            there, _ = ray.wait([telling], timeout=SECONDS_BETWEEN_LOOKS)
            epoch = result_of(telling, "the teacher") if there else None
            if epoch not in (None, told):
                told = epoch
                progress(*epoch)
        if ready:
            return result_of(task, "the teacher")


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
            f"the teacher is trained with {told_resources(cpus, gpus)} instead of {wanted:g} CPUs, "
            f"as {rest} in use{'' if free >= workers.cpus else '; it waits for a place'}.",
            BdistilWarning,
            stacklevel=2,
        )
    return cpus


def most_free(gpus: float) -> float:
    """The most CPUs that are free on a node with so many free GPUs."""
    return max(
        (node.get("CPU", 0) for node in free_nodes() if node.get("GPU", 0) >= gpus), default=0
    )


def told_resources(cpus: float, gpus: float) -> str:
    """CPUs and GPUs in words."""
    return f"{cpus:g} CPUs" + (f" and {gpus:g} GPUs" if gpus else "")


def most_cpus(workers: WorkerSpec) -> float:
    """CPUs of the teacher, who works alone: those of all trials, as far as one node has them."""
    nodes = [node for node in alive_nodes() if node.get("GPU", 0) >= workers.gpus]
    largest = max((node.get("CPU", 0) for node in nodes), default=workers.cpus)
    return max(workers.cpus, min(largest, workers.cpus * workers.trials))
