"""Asking a teacher about every example of a split, and checking what it answers."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bdistil.core.cost import timed_in_turns
from bdistil.core.placement import copied
from bdistil.core.progressive_ensemble import chunks
from bdistil.core.tensors import as_tensor
from bdistil.core.threads import all_threads
from bdistil.data.dataset import Dataset, Split
from bdistil.data.standardise import TargetScale, standardised
from bdistil.errors import FOREIGN, BdistilError, TeacherError, told
from bdistil.names import TeacherInputs, TeacherOutputs
from bdistil.store.durable import disk_errors
from bdistil.teachers.source import AnswerProgress

SECONDS_TIMED = 0.3
LEAST_PROBABILITY = 1 / 500  # clips log p, as "Knowledge distillation as semiparametric inference"


@dataclass(frozen=True)
class Examinee:
    """How to ask a teacher of any kind.

    Attributes:
        name: for messages.
        answer: outputs (B, L) of features, float32 (B, ...).
        rows: most examples asked at once; exactly so many if `only_full`.
        inputs: whether it reads raw or standardised features.
        outputs: what its answers about classes are; raw targets in regression.
        only_full: whether it takes batches of `rows` examples alone.
    """

    name: str
    answer: Callable[[NDArray[np.float32]], NDArray[Any]]
    rows: int
    inputs: TeacherInputs
    outputs: TeacherOutputs
    only_full: bool = False

    def check(self, dataset: Dataset) -> None:
        """Ask about two examples.

        Raises:
            TeacherError: if it fails or its answer does not fit the data.
        """
        few = dataset.validation
        self.logits(dataset, few.take(slice(2)))

    def seconds(self, dataset: Dataset) -> float:
        """Median seconds of a call about one example, one thread."""
        one = self._features(dataset, dataset.validation.take(slice(1)))
        return seconds_of(lambda: self._outputs(one))

    def logits(
        self, dataset: Dataset, split: Split, progress: AnswerProgress | None = None
    ) -> NDArray[np.float32]:
        """Logits of a split as :class:`Teacher` gives them, in an unnamed file.

        Raises:
            TeacherError: if it fails or an answer does not fit the data.
        """
        logits = on_disk(len(split), dataset.outputs)
        remedy = f"check its weights, and teacher.inputs ({self.inputs})"
        for rows in chunks(len(split), self.rows):
            part = split.take(rows)
            found = self._outputs(self._features(dataset, part))
            outputs = fitting(self.name, found, len(part), dataset, remedy)
            logits[rows] = as_taught(outputs, dataset, self.outputs)
            if progress is not None:
                progress(rows.stop, len(split))
        return logits

    def _features(self, dataset: Dataset, split: Split) -> NDArray[np.float32]:
        if self.inputs == "standardised":
            return standardised(dataset, split)
        return np.ascontiguousarray(split.x, np.float32)

    def _outputs(self, features: NDArray[np.float32]) -> Any:
        count = len(features)
        if self.only_full:
            features = features[np.arange(self.rows) % count]
        try:
            return self.answer(features)[:count]
        except BdistilError:
            raise
        except FOREIGN as error:  # foreign code may raise anything
            raise TeacherError(
                f"{self.name} fails on examples of shape {features.shape[1:]}: {told(error)}; "
                f"make it take float32 (batch, {', '.join(map(str, features.shape[1:]))})."
            ) from error


def fitting(
    name: str, outputs: Any, examples: int, dataset: Dataset, remedy: str
) -> NDArray[np.float32]:
    """What a teacher gives for so many examples, float32 (examples, L).

    Args:
        name: of the teacher, for messages.
        outputs: numbers (examples, L), or (examples,) where L is 1.
        examples: that it was asked about.
        dataset: tells L.
        remedy: what to do about NaN.

    Raises:
        TeacherError: if they are of another shape or type, or not finite.
    """
    found = np.asarray(outputs)
    if found.ndim == 1 and dataset.outputs == 1:
        found = found[:, None]
    if found.ndim != 2 or found.dtype.kind not in "fiu":
        raise TeacherError(
            f"{name} answers with {found.dtype} of shape {found.shape}; make it give "
            f"numbers of shape (batch, {dataset.outputs})."
        )
    if found.shape[1] != dataset.outputs:
        raise TeacherError(
            f"{name} gives {found.shape[1]} outputs, but {dataset.name} needs "
            f"{dataset.outputs}{_classes(dataset)}; make it give one each, in this order."
        )
    if len(found) != examples:
        raise TeacherError(
            f"{name} gives {len(found)} answers to {examples} examples; make it give one each."
        )
    with np.errstate(over="ignore"):  # infinity is told below
        found = found.astype(np.float32, copy=False)
    if not np.isfinite(found).all():
        raise TeacherError(f"{name} answers with NaN or infinity; {remedy}.")
    return found


def seconds_of(call: Callable[[], object]) -> float:
    """Median seconds of a call, one thread, whatever `n_jobs` an estimator has."""
    joblib = sys.modules.get("joblib")
    with nullcontext() if joblib is None else joblib.parallel_config(backend="sequential"):
        rows = timed_in_turns([call], repeats=5, seconds=SECONDS_TIMED)
    return statistics.median(seconds for [seconds] in rows)


def _classes(dataset: Dataset) -> str:
    names = dataset.class_names
    if names is None:
        return " targets"
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return f" classes ({shown})"


def torch_answer(model: nn.Module) -> Callable[[NDArray[np.float32]], NDArray[Any]]:
    """The answers of a network, on the device where it is."""
    tensors = [*model.parameters(), *model.buffers()]
    device = tensors[0].device if tensors else torch.device("cpu")

    @torch.no_grad()
    def answer(features: NDArray[np.float32]) -> NDArray[Any]:
        with all_threads():  # a search has no trials yet
            outputs = model(copied(as_tensor(features), device))
        if not isinstance(outputs, torch.Tensor):
            raise TeacherError(
                f"teacher.model answers with {type(outputs).__name__}; make it give one tensor."
            )
        return outputs.float().cpu().numpy()

    return answer


def as_taught(
    outputs: NDArray[np.float32], dataset: Dataset, kind: TeacherOutputs
) -> NDArray[np.float32]:
    """Raw outputs (N, L) as the game takes them: centred logits, or standardised targets.

    Logits of labels are not centred: sigmoids see a constant.

    Raises:
        TeacherError: if probabilities are none.
    """
    if dataset.task == "regression":
        targets: NDArray[np.float32] = TargetScale.of(dataset).standardise(outputs)
        return targets
    if dataset.task == "multilabel":
        return as_label_logits(outputs, kind)
    return centred(as_logits(outputs, kind))


def as_logits(outputs: NDArray[np.float32], kind: TeacherOutputs) -> NDArray[np.float32]:
    """Logits from logits or from probabilities.

    Raises:
        TeacherError: if probabilities are negative or a row sums to nothing, or if logits are
            probabilities.
    """
    if kind == "logits":
        _refuse_probabilities(outputs)
        return outputs
    if (outputs < 0).any() or (outputs.sum(axis=1) <= 0).any():
        raise TeacherError(
            "teacher.outputs is probabilities, but some are negative or a row sums to 0; "
            "set teacher.outputs=logits if they are logits."
        )
    shares = outputs / outputs.sum(axis=1, keepdims=True)
    logarithms: NDArray[np.float32] = np.log(shares.clip(min=LEAST_PROBABILITY))
    return logarithms


def _refuse_probabilities(logits: NDArray[np.float32]) -> None:
    """Their differences are so small that they would teach next to nothing."""
    if len(logits) and (logits >= 0).all() and np.allclose(logits.sum(axis=1), 1, atol=1e-3):
        raise TeacherError(
            "teacher.outputs is logits, but every row is positive and sums to 1, as probabilities "
            "do; set teacher.outputs=probabilities."
        )


def as_label_logits(outputs: NDArray[np.float32], kind: TeacherOutputs) -> NDArray[np.float32]:
    """Logits of labels that hold or not, from logits or from a probability each.

    Raises:
        TeacherError: if probabilities lie outside 0 to 1.
    """
    if kind == "logits":
        return outputs
    if (outputs < 0).any() or (outputs > 1).any():
        raise TeacherError(
            "teacher.outputs is probabilities, but some lie outside 0 to 1; set "
            "teacher.outputs=logits if they are logits."
        )
    shares = outputs.clip(LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    logits: NDArray[np.float32] = np.log(shares / (1 - shares))
    return logits


def centred(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits with mean zero for each example, which softmax does not see."""
    result: NDArray[np.float32] = logits - logits.mean(axis=1, keepdims=True)
    return result


def on_disk(rows: int, outputs: int) -> NDArray[np.float32]:
    """A float32 array (rows, outputs) in an unnamed file: logits may exceed the free memory.

    Raises:
        CheckpointError: if the disk has no room for it.
    """
    with disk_errors(Path(tempfile.gettempdir())), tempfile.TemporaryFile() as file:
        os.posix_fallocate(file.fileno(), 0, rows * outputs * 4)  # or writing could end us
        return np.memmap(file, np.float32, "r+", shape=(rows, outputs))
