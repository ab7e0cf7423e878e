"""Asking a teacher about changed copies of the training examples, one copy after another."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from bdistil.core.progressive_ensemble import chunks
from bdistil.core.tensors import as_tensor
from bdistil.core.views import Scale, ViewMaker
from bdistil.data.dataset import Dataset, Split
from bdistil.teachers.source import AnswerProgress, Teacher
from bdistil.teachers.teacher_store import TeacherStore

BLOCK = 4096  # rows that are copied at once

LARGEST = float(np.finfo(np.float16).max)


def answer_views(
    store: TeacherStore,
    dataset: Dataset,
    teacher: Teacher,
    makers: Sequence[ViewMaker],
    learnt: str,
    progress: AnswerProgress | None = None,
) -> None:
    """Ask about every copy of every training example; each copy is kept as soon as it is there.

    Args:
        store: keeps the answers, float16 (N, L) a copy.
        dataset: whose training split is copied.
        teacher: answers.
        makers: of the copies, in row order.
        learnt: what the teacher learnt from, by which answers of another one are told.
        progress: called with (examples answered, examples), over all copies.
    """
    identity = views_identity(dataset, makers, learnt)
    copies, examples = makers[0].settings.copies, len(dataset.train)
    for copy in range(copies):
        if store.view(copy, identity) is not None:
            continue

        def answered(done: int, _: int, before: int = copy * examples) -> None:
            if progress is not None:
                progress(before + done, copies * examples)

        logits = answers_to_copy(dataset, teacher, makers, copy, answered)
        store.save_view(copy, logits, identity)


def views_identity(dataset: Dataset, makers: Sequence[ViewMaker], learnt: str) -> str:
    """A hash of all that the teacher's answers to copies depend on."""
    first = makers[0]
    told = [first.settings.model_dump(), first.seed, dataset.sha256, learnt]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def answers_to_copy(
    dataset: Dataset,
    teacher: Teacher,
    makers: Sequence[ViewMaker],
    copy: int,
    progress: AnswerProgress,
) -> NDArray[np.float16]:
    """A teacher's logits on one copy of every training example, float16 (N, L)."""
    rule = dataset.standardisation
    scale = Scale(torch.from_numpy(rule.shift), torch.from_numpy(rule.scale))
    found = np.empty((len(dataset.train), dataset.outputs), np.float16)
    for maker in makers:
        shard = slice(maker.first, maker.first + maker.rows)
        inputs = as_tensor(np.ascontiguousarray(dataset.train.x[shard], np.float32))
        for rows in chunks(maker.rows, BLOCK):
            place = slice(maker.first + rows.start, maker.first + rows.stop)
            copied = maker.make(inputs, rows, copy, scale).numpy()
            logits = teacher.logits(Split(copied, dataset.train.y[place]), None)
            found[place] = logits.clip(-LARGEST, LARGEST)
            progress(place.stop, len(found))
    return found
