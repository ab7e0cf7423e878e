"""Predictions for a file of examples, by the predictor, compared with the labels it may hold.

Without torch, since devices run it too; what decodes the file is asked for where it is needed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdistil.data.new_examples import NewExamples, read_new_examples
from bdistil.errors import SpecError
from bdistil.export.known_labels import Comparison, compared
from bdistil.runtime.answer import Answer
from bdistil.runtime.clock import timed_batch
from bdistil.runtime.exits import OperatingPoint
from bdistil.runtime.manifest import Manifest
from bdistil.runtime.predictor import Predictor
from bdistil.runtime.values import as_text, is_list, missing_values

TELL_SECONDS = 10.0
"""Between two sentences of how far it is."""


@dataclass(frozen=True)
class Predictions:
    """Answers for each row of a file.

    Attributes:
        header: names of the columns of `rows`.
        rows: the answer and, for classification, its calibrated probability; of each label if
            there are several.
        comparison: with the labels that the file holds; None without any.
        asked: how many rows the teacher answered.
        stages: students that each row was shown to.
    """

    header: list[str]
    rows: list[list[Any]]
    comparison: Comparison | None
    asked: int = 0
    stages: tuple[int, ...] = ()


def predict_file(
    source: str | Path,
    data: Path,
    stages: int | None = None,
    *,
    deadline: float | str | None = None,
    exit: str | None = None,
    budget: float | str | None = None,
    every_class: bool = False,
    keep: Sequence[str] = (),
    ask_teacher: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> Predictions:
    """Run a saved ensemble over a file or folder as the search took it, of new examples.

    Args:
        source: a saved ensemble or a run directory.
        data: the file; labels, if there, are only compared with.
        stages: students to run; None runs all.
        deadline: as of :meth:`~bdistil.runtime.predictor.Predictor.answer`, for each batch of rows.
        exit: likewise, the name of a score.
        budget: as of :meth:`~bdistil.runtime.predictor.Predictor.predict_batch`.
        every_class: give the probability of each class instead of that of the answer.
        keep: columns of the file to stand before the answers.
        ask_teacher: ask the teacher that was exported with the ensemble about unsure rows.
        tell: takes a sentence now and then, of how many rows are answered.

    Raises:
        CheckpointError: if the ensemble cannot be read.
        DataError: if the file does not fit it, or there is no such stage.
        SpecError: if more than one of `stages`, `deadline`, `exit` and `budget` is given, or the
            ensemble has no such probabilities.
    """
    predictor = Predictor(source, teacher=True if ask_teacher else None)
    manifest = predictor.manifest
    if every_class and manifest.task != "classification":
        raise SpecError("probabilities of every class are for classification; leave out --proba.")
    if sum(each is not None for each in (stages, deadline, exit, budget)) > 1:
        raise SpecError("give one of stages, deadline, exit and budget, not several.")
    if ask_teacher and any(each is not None for each in (stages, deadline, budget)):
        raise SpecError("the teacher is asked after the last stage; leave the other way out.")
    new = read_new_examples(data, manifest, keep)
    header = _header(manifest, every_class)
    twice = sorted({*new.beside} & {*header})
    if twice:
        raise SpecError(f"--keep names {twice[0]!r}, as a column of the answers is called.")

    policies: list[OperatingPoint] = []  # one for the whole file, chosen at its first batch

    def answered(x: NDArray[np.float32]) -> Answer:
        if budget is not None:
            return predictor.predict_batch(x, budget)
        if exit is None:
            return predictor.answer(x, stages=stages, deadline=deadline)
        if not policies:
            policies.append(predictor.policy(exit, batch=timed_batch(len(x))))
        return predictor.answer(x, exit=policies[0])

    answers = [answered(x) for x in counted(new, tell)]
    values = np.concatenate([answer.values for answer in answers])
    found = [answer.probabilities for answer in answers if answer.probabilities is not None]
    probabilities = np.concatenate(found) if found else None
    rows = _rows(values, probabilities, every_class)
    if new.beside:
        kept = zip(*(map(_cell, column) for column in new.beside.values()), strict=True)
        rows = [[*cells, *row] for cells, row in zip(kept, rows, strict=True)]
    header = [*new.beside, *header]
    asked = sum(int(answer.asked.sum()) for answer in answers if answer.asked is not None)
    reached = tuple(int(stage) for answer in answers for stage in answer.stages)
    comparison = None if new.labels is None else compared(manifest, values, new.labels)
    return Predictions(header, rows, comparison, asked, reached)


def read_examples(predictor: Predictor, data: str | Path) -> NDArray[np.float32]:
    """The examples of a file or folder, read and decoded as ``bdistil predict`` does it.

    Args:
        predictor: that shall answer; what it was trained on says how they are decoded.
        data: photographs or recordings, alone or in a folder (in the order of their names), or a
            table or arrays. All are kept in memory.

    Returns:
        Raw examples float32 (B, ...), as :meth:`~bdistil.runtime.predictor.Predictor.answer` takes.

    Raises:
        DataError: if the file is missing, damaged or does not fit.
        MissingDependencyError: if what decodes the files is not installed.

    Example:
        >>> predictor = Predictor("runs/voices")  # doctest: +SKIP
        >>> predictor.predict(read_examples(predictor, "new/a.wav"))  # doctest: +SKIP
    """
    return np.concatenate([*read_new_examples(Path(data), predictor.manifest).batches])


def counted(new: NewExamples, tell: Callable[[str], None]) -> Iterator[NDArray[np.float32]]:
    """The batches; tells every so many seconds how many rows have been read and answered."""
    rows, told = 0, time.monotonic()
    total = "".join(f" of {len(column):,}" for column in islice(new.beside.values(), 1))
    for x in new.batches:
        yield x
        rows += len(x)
        if time.monotonic() - told >= TELL_SECONDS:
            tell(f"{rows:,}{total} rows answered")
            told = time.monotonic()


def _cell(value: Any) -> str:
    """A value as people write it, lists as JSON does; nothing for a missing one."""
    if is_list(value):
        return json.dumps(value, default=_plain, ensure_ascii=False)
    return "" if missing_values(np.array([value, None], object))[0] else as_text(value)


def _plain(value: Any) -> Any:
    """What is no type of Python's own as one that is."""
    return value.tolist() if hasattr(value, "tolist") else as_text(value)


def _header(manifest: Manifest, every_class: bool) -> list[str]:
    if every_class:
        return ["prediction", *(f"probability_{name}" for name in manifest.names)]
    if manifest.task == "classification":
        return ["prediction", "probability"]
    if manifest.task == "multilabel":
        return [f"{kind}_{n}" for kind in ("prediction", "probability") for n in manifest.names]
    return ["prediction"] if manifest.outputs == 1 else [f"prediction_{n}" for n in manifest.names]


def _rows(
    values: NDArray[Any], probabilities: NDArray[np.floating] | None, every_class: bool
) -> list[list[Any]]:
    columns = values.reshape(len(values), -1)
    if probabilities is None:
        return columns.tolist()
    if values.ndim == 1 and not every_class:
        probabilities = probabilities.max(axis=1, keepdims=True)
    pairs = zip(columns.tolist(), probabilities.tolist(), strict=True)
    return [[*answers, *(f"{p:.6g}" for p in sure)] for answers, sure in pairs]
