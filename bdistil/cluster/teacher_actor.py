"""The teacher on a cluster: an actor trains it and answers for it, with its node's GPU and CPUs.

The machine that a search is started on is often one without a GPU.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import ray
import torch
from numpy.typing import NDArray
from torch import nn
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from bdistil.cluster.lost_worker import losses_named
from bdistil.cluster.process_group import Desk, Post, joined, open_store, trains_on_gpu
from bdistil.cluster.tasks import result_of
from bdistil.cluster.teacher_crew import trained_by_crew
from bdistil.core.progressive_ensemble import chunks
from bdistil.data.dataset import Dataset, Split
from bdistil.errors import BdistilWarning
from bdistil.interrupt import check
from bdistil.spec import Spec
from bdistil.spec.user_modules import UserModule, import_modules
from bdistil.teachers.answers import on_disk
from bdistil.teachers.contract import obtained
from bdistil.teachers.select import teacher_source
from bdistil.teachers.source import AnswerProgress, EpochProgress, Teacher
from bdistil.teachers.teacher_store import SPLITS
from bdistil.teachers.trained import TrainedSource
from bdistil.zoo.training import least_batch

ROWS = 8192  # that are asked about at once

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
    """

    dataset: Dataset
    spec: Spec
    modules: Sequence[UserModule]


class Trainer:
    """A worker that trains the teacher when it is first asked, once more if it was lost.

    So each call comes with the lesson: data given to a constructor would not outlive a restart.

    Args:
        threads: of torch.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.epoch: tuple[int, int, float] | None = None
        self.trained: Teacher | None = None
        self.store: TCPStore | None = None

    def desk(self, gpus: float, meets: bool) -> Desk:
        """Where it is, once it is up; it opens a port only if others are to meet it there."""
        if meets and self.store is None:
            self.store = open_store()
        port = 0 if self.store is None else self.store.port
        return Desk(ray.util.get_node_ip_address(), port, trains_on_gpu(gpus))

    def teacher(self, lesson: Lesson, post: Post | None = None) -> Teacher:
        """The trained teacher, trained with others if it has a post among them."""
        if self.trained is None:
            torch.set_num_threads(self.threads)
            for module in lesson.modules:
                module.load()
            source = teacher_source(lesson.dataset, lesson.spec)
            with joined(post, self.store) as share:
                if isinstance(source, TrainedSource):
                    source = replace(source, share=share)
                self.trained = obtained(source, lesson.dataset, progress=self.note)
        return self.trained

    def help(self, lesson: Lesson, post: Post) -> None:
        """Train with the worker that will have the teacher."""
        self.teacher(lesson, post)

    def note(self, epoch: int, epochs: int, metric: float) -> None:
        """Remember how far training is, for the driver."""
        self.epoch = epoch, epochs, metric

    def known(self, lesson: Lesson, post: Post) -> Known:
        """Train, and tell what the driver keeps."""
        made = self.teacher(lesson, post)
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

    With `teacher.workers` several train it. One that is lost when it answers is trained again by
    one worker.

    Raises:
        BdistilError: what went wrong in the training.
        ClusterError: if it was lost with several workers.
    """
    modules = import_modules(spec.modules)
    with losses_named():
        lesson = ray.put(Lesson(dataset, spec, modules))
    with ExitStack() as opened:
        asked = asked_workers(dataset, spec)
        actor, known = trained_by_crew(Trainer, lesson, asked, spec.workers, progress, opened)

        def logits(split: Split, answered: AnswerProgress | None = None) -> NDArray[np.float32]:
            outputs = on_disk(len(split), dataset.outputs)
            name = next((name for name in SPLITS if getattr(dataset, name) is split), None)
            for rows in chunks(len(split), ROWS):
                asked: Asked = split.take(rows) if name is None else (name, rows)
                answer = actor.logits.remote(lesson, asked)
                while not ray.wait([answer], timeout=1)[0]:
                    check()
                check()
                outputs[rows] = result_of(answer, "the teacher")
                if answered is not None:
                    answered(min(rows.stop, len(split)), len(split))
            return outputs

        yield Teacher(logits, *known)


def asked_workers(dataset: Dataset, spec: Spec) -> int:
    """How many are to train together; each needs a row at least of each batch."""
    asked, settings = spec.teacher.workers, spec.teacher
    rows = least_batch(len(dataset.train), settings.batch_size)
    if asked > rows:
        warnings.warn(
            f"teacher.workers is {asked}, but there are batches of {rows} rows "
            f"(teacher.batch_size={settings.batch_size}), so {rows} train the teacher at most.",
            BdistilWarning,
            stacklevel=2,
        )
    return min(asked, rows)
