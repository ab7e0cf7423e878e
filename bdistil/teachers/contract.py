"""Kinds of teachers of the user's own, held to the contract of :mod:`bdistil.teachers.source`.

bdistil's own kinds keep it by themselves, and an error of theirs is a fault of bdistil.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bdistil.data.dataset import Dataset, Split
from bdistil.errors import FOREIGN, BdistilError, TeacherError, is_ours, told
from bdistil.teachers.answers import centred, fitting
from bdistil.teachers.source import AnswerProgress, EpochProgress, Rows, Teacher, TeacherSource


def checked(source: TeacherSource) -> None:
    """Let a source find what is wrong with it, before anything is written.

    Raises:
        TeacherError: whatever a source of the user's own raises; else as `TeacherSource.check`.
    """
    with _faults_named(source):
        source.check()


def obtained(
    source: TeacherSource,
    dataset: Dataset,
    rows: Rows | None = None,
    progress: EpochProgress | None = None,
) -> Teacher:
    """A source's teacher, whose answers are finite, float32 (N, L), and centred for classes.

    Raises:
        TeacherError: whatever a source of the user's own raises, now or when it is asked, or if its
            answers do not fit the data; else as `TeacherSource.obtain`.
    """
    with _faults_named(source):
        teacher = source.obtain(rows=rows, progress=progress)
    if is_ours(type(source)):
        return teacher
    name = _name_of(source)
    if not isinstance(teacher, Teacher):
        raise TeacherError(
            f"{name} gives {type(teacher).__name__} when it is obtained; make it give a "
            f"bdistil.teachers.source.Teacher."
        )

    def logits(split: Split, answered: AnswerProgress | None = None) -> NDArray[np.float32]:
        with _faults_named(source):
            outputs = np.asarray(teacher.logits(split, answered))
        outputs = fitting(name, outputs, len(split), dataset, "check what it computes")
        return centred(outputs) if dataset.task == "classification" else outputs

    return replace(teacher, logits=logits)


@contextmanager
def _faults_named(source: TeacherSource) -> Iterator[None]:
    try:
        yield
    except BdistilError:
        raise
    except FOREIGN as error:
        if is_ours(type(source)):
            raise
        raise TeacherError(
            f"{_name_of(source)} fails ({type(error).__name__}: {told(error)}); correct it."
        ) from error


def _name_of(source: TeacherSource) -> str:
    return f"the teacher of your own kind {type(source).__name__}"
