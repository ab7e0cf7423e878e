"""What a trial knows of one split in one round, and the objective it trains on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from bdistil.core.connections import Hidden
from bdistil.core.losses import fitting_loss
from bdistil.core.placement import Device, copied, size_of
from bdistil.core.progressive_ensemble import ProgressiveEnsemble, chunks, hidden_states, move
from bdistil.core.student import Student, advance
from bdistil.core.views import Views
from bdistil.names import Task


@dataclass(frozen=True)
class Examples:
    """One split as seen in the round of stage t, all on one device.

    Attributes:
        inputs: standardised features, float32 (N, ...).
        teacher_logits: g, logits, centred for classification, float32 (N, L).
        labels: class indices (N,), targets or 0 and 1 (N, L); None if unknown.
        ensemble: F_{t-1}, float32 (N, L); zeros before the first round.
        earlier: hidden states of the students 1..t-1.
        views: copies of a training split's rows (see :mod:`.views`), before round 1.
    """

    inputs: Tensor
    teacher_logits: Tensor
    labels: Tensor | None
    ensemble: Tensor
    earlier: list[Hidden] = field(default_factory=list)
    views: Views | None = None

    @classmethod
    def before_round_one(
        cls,
        inputs: Tensor,
        teacher_logits: Tensor,
        labels: Tensor | None,
        views: Views | None = None,
    ) -> Examples:
        """The split when no student is there yet; its ensemble takes no memory."""
        return cls(inputs, teacher_logits, labels, zeros_like(teacher_logits), views=views)

    def __len__(self) -> int:
        return len(self.inputs)

    def to(self, device: Device) -> Examples:
        """The same on another device."""
        labels = None if self.labels is None else copied(self.labels, device)
        return Examples(
            copied(self.inputs, device),
            copied(self.teacher_logits, device),
            labels,
            copied(self.ensemble, device),
            [move(state, device) for state in self.earlier],
            None if self.views is None else self.views.to(device),
        )

    @property
    def nbytes(self) -> int:
        """Bytes of all but the hidden states; the training split has its margin for `ensemble`."""
        return size_of([self.inputs, self.teacher_logits, self.labels, self.ensemble])

    @property
    def stage(self) -> int:
        """t, counted from 1, of the student that this round looks for."""
        return len(self.earlier) + 1

    def joined(self, student: Student) -> Examples:
        """The split after `student` was accepted."""
        logits, hidden = hidden_states(student, self.inputs, self.earlier)
        combined = advance(self.ensemble, logits, self.stage, student.config.skip)
        return replace(self, ensemble=combined, earlier=[*self.earlier, hidden])

    def after(self, ensemble: ProgressiveEnsemble) -> Examples:
        """The split after every student of `ensemble` that has not joined yet."""
        examples = self
        for student in list(ensemble)[len(self.earlier) :]:
            examples = examples.joined(student)
        return examples


@dataclass(frozen=True)
class Measure:
    """The loss by which ensembles are compared; the same for every candidate of a run.

    Attributes:
        task: classification, regression or multilabel.
        label_share: weight of the labels; 0 compares with the teacher alone.
    """

    task: Task
    label_share: float

    def loss(self, logits: Tensor, examples: Examples) -> float:
        """Loss of `logits` (N, L) on a split, at temperature 1."""
        total = torch.zeros((), dtype=torch.float64, device=logits.device)
        for rows in chunks(len(logits)):
            loss = fitting_loss(
                logits[rows],
                examples.teacher_logits[rows],
                None if examples.labels is None else examples.labels[rows],
                task=self.task,
                label_share=self.label_share,
            )
            total += loss.double() * len(logits[rows])
        return total.item() / len(logits)

    def accuracy(self, logits: Tensor, examples: Examples) -> float:
        """The task's :func:`metric` against the labels (the teacher's answers if none)."""
        return metric(logits, reference(examples, self.task), self.task)

    def standard_error(self, metric: float, examples: int) -> float:
        """Of an accuracy on so many examples; 0 for other metrics, which are no share of them."""
        counts = self.task == "classification" and 0 <= metric <= 1
        return math.sqrt(metric * (1 - metric) / examples) if counts else 0.0

    def best_constant(self, parts: Sequence[Answers]) -> Tensor:
        """The logits (L,) that, given to every example of all parts, have the least loss."""
        count = sum(len(part.teacher_logits) for part in parts)
        sums = [
            self._targets(part, rows).sum(dim=0, dtype=torch.float64)
            for part in parts
            for rows in chunks(len(part.teacher_logits))
        ]
        centre = (torch.stack(sums).sum(dim=0) / count).float()
        if self.task == "regression":
            return centre
        return (
            centre.clamp_min(1e-12).log() if self.task == "classification" else centre.logit(1e-6)
        )

    def _targets(self, part: Answers, rows: slice) -> Tensor:
        """What the best answer to some examples is: targets, or probabilities."""
        targets = _probabilities(part.teacher_logits[rows], self.task)
        if part.labels is None:
            return targets
        labels = part.labels[rows]
        if self.task == "classification":
            labels = F.one_hot(labels, part.teacher_logits.shape[1]).to(targets)
        return torch.lerp(targets, labels, self.label_share)


def _probabilities(logits: Tensor, task: Task) -> Tensor:
    """Of the classes or of each label, float (N, L); for regression the predictions themselves."""
    if task == "regression":
        return logits
    return logits.softmax(dim=1) if task == "classification" else logits.sigmoid()


def zeros_like(matrix: Tensor) -> Tensor:
    """Zeros of the same shape, to be read only: all are the same number in memory."""
    return matrix.new_zeros(()).expand_as(matrix)


class Answers(Protocol):
    """Anything with a teacher's logits and labels: :class:`Examples` or a shard."""

    @property
    def teacher_logits(self) -> Tensor:
        """g, logits, (N, L)."""

    @property
    def labels(self) -> Tensor | None:
        """Class indices (N,), targets or 0 and 1 (N, L); None if unknown."""


def reference(examples: Examples, task: Task) -> Tensor:
    """What predictions are held against: the labels or, without any, the teacher's answers."""
    if examples.labels is not None:
        return examples.labels
    if task == "regression":
        return examples.teacher_logits
    return (
        examples.teacher_logits.argmax(dim=1)
        if task == "classification"
        else examples.teacher_logits > 0
    )


def metric(logits: Tensor, truth: Tensor, task: Task) -> float:
    """How good logits (N, L) are; 1 is perfect.

    Accuracy against class indices (N,), micro F1 against the labels 0 and 1 (N, L), or R² against
    targets (N, L): the mean over targets, so that their units do not matter.
    """
    if task == "classification":
        return (logits.argmax(dim=1) == truth).double().mean().item()
    if task == "multilabel":
        return micro_f1(logits > 0, truth > 0)
    residual = (logits - truth).square().sum(dim=0, dtype=torch.float64)
    total = (truth - truth.mean(dim=0)).square().sum(dim=0, dtype=torch.float64)
    return (1 - residual / total.clamp_min(1e-12)).mean().item()  # finite for constant targets


def micro_f1(answers: Tensor, truth: Tensor) -> float:
    """2·hits / (labels given + labels true) over all entries of bool (N, L); 1 if there are none.

    Right negatives do not count: where labels are rare, an answer without any would have nearly
    all entries right.
    """
    total = answers.sum().item() + truth.sum().item()
    return 2 * (answers & truth).sum().item() / total if total else 1.0
