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
from bdistil.core.gathering import Gathered
from bdistil.core.losses import fitting_loss
from bdistil.core.placement import Device, copied, size_of
from bdistil.core.progressive_ensemble import (
    ProgressiveEnsemble,
    chunks,
    hidden_states,
    move,
    take,
)
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
        weights: of the rows in fitting losses and in :class:`Measure`, float32 (N,), of mean 1 over
            the training split; None weighs all alike. The game knows none.
    """

    inputs: Tensor
    teacher_logits: Tensor
    labels: Tensor | None
    ensemble: Tensor
    earlier: list[Hidden] = field(default_factory=list)
    views: Views | None = None
    weights: Tensor | None = None

    @classmethod
    def before_round_one(
        cls,
        inputs: Tensor,
        teacher_logits: Tensor,
        labels: Tensor | None,
        views: Views | None = None,
        weights: Tensor | None = None,
    ) -> Examples:
        """The split when no student is there yet; its ensemble takes no memory."""
        ensemble = zeros_like(teacher_logits)
        return cls(inputs, teacher_logits, labels, ensemble, views=views, weights=weights)

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
            None if self.weights is None else copied(self.weights, device),
        )

    def take(self, rows: slice) -> Examples:
        """Some rows, without a copy and without views."""
        return Examples(
            self.inputs[rows],
            self.teacher_logits[rows],
            None if self.labels is None else self.labels[rows],
            self.ensemble[rows],
            [take(state, rows) for state in self.earlier],
            weights=None if self.weights is None else self.weights[rows],
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
        """Loss of `logits` (N, L) on a split, at temperature 1; a weighted mean with weights."""
        total = torch.zeros((), dtype=torch.float64, device=logits.device)
        weights = examples.weights
        for rows in chunks(len(logits)):
            loss = fitting_loss(
                logits[rows],
                examples.teacher_logits[rows],
                None if examples.labels is None else examples.labels[rows],
                task=self.task,
                label_share=self.label_share,
                weights=None if weights is None else weights[rows],
            )
            total += loss.double() * len(logits[rows])
        count = len(logits) if weights is None else weights.sum(dtype=torch.float64).item()
        return total.item() / count

    def accuracy(self, logits: Tensor, examples: Examples) -> float:
        """The task's :func:`metric` against the labels (the teacher's answers if none)."""
        return metric(logits, reference(examples, self.task), self.task)

    def standard_error(self, metric: float, examples: int) -> float:
        """Of an accuracy on so many examples; 0 for other metrics, which are no share of them."""
        counts = self.task == "classification" and 0 <= metric <= 1
        return math.sqrt(metric * (1 - metric) / examples) if counts else 0.0

    def best_constant(self, parts: Sequence[Answers]) -> Tensor:
        """The logits (L,) that, given to every example of all parts, have the least loss."""
        count = sum(len(part.teacher_logits) for part in parts)  # weights sum to it, too
        pieces = [(part, rows) for part in parts for rows in chunks(len(part.teacher_logits))]
        sums = Gathered(len(pieces))
        for part, rows in pieces:
            sums.add(self._targets(part, rows).sum(dim=0, dtype=torch.float64)[None])
        centre = (sums.tensor.sum(dim=0) / count).float()
        if self.task == "regression":
            return centre
        return (
            centre.clamp_min(1e-12).log() if self.task == "classification" else centre.logit(1e-6)
        )

    def _targets(self, part: Answers, rows: slice) -> Tensor:
        """What the best answer to some examples is, times their weights: targets, or shares."""
        targets = _probabilities(part.teacher_logits[rows], self.task)
        if part.labels is not None:
            labels = part.labels[rows]
            if self.task == "classification":
                labels = F.one_hot(labels, part.teacher_logits.shape[1]).to(targets)
            targets = torch.lerp(targets, labels, self.label_share)
        return targets if part.weights is None else targets * part.weights[rows, None]


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

    @property
    def weights(self) -> Tensor | None:
        """Of the rows, (N,); None weighs all alike."""


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


def metric(logits: Tensor, truth: Tensor, task: Task, weights: Tensor | None = None) -> float:
    """How good logits (N, L) are; 1 is perfect.

    Accuracy against class indices (N,), micro F1 against the labels 0 and 1 (N, L), or R² against
    targets (N, L): the mean over targets, so that their units do not matter, but for those that
    are the same in every example, of which R² says nothing. Weights (N,) of the examples count
    each that often.
    """
    if task == "classification":
        right = (logits.argmax(dim=1) == truth).double()
        return (right.mean() if weights is None else (right * weights).sum() / weights.sum()).item()
    if task == "multilabel":
        return micro_f1(logits > 0, truth > 0, weights)
    return r_squared(logits.double(), truth.double(), weights)


def r_squared(answers: Tensor, truth: Tensor, weights: Tensor | None) -> float:
    """As :func:`bdistil.runtime.r_squared.r_squared`, weighted.

    If all targets are constant, 1 of answers that are right and 0 of others, as in scikit-learn.
    """
    each = truth.new_ones(len(truth)) if weights is None else weights.double()
    answers, truth, each = answers[each > 0], truth[each > 0], each[each > 0, None]
    differ = (truth != truth[:1]).any(dim=0)
    if not differ.any():
        return float(torch.equal(answers, truth))
    answers, truth = answers[:, differ], truth[:, differ]
    centre = (truth * each).sum(dim=0) / each.sum()
    residual = ((answers - truth).square() * each).sum(dim=0)
    return (1 - residual / ((truth - centre).square() * each).sum(dim=0)).mean().item()


def micro_f1(answers: Tensor, truth: Tensor, weights: Tensor | None = None) -> float:
    """2·hits / (labels given + labels true) over all entries of bool (N, L); 1 if there are none.

    Right negatives do not count: where labels are rare, an answer without any would have nearly
    all entries right.
    """
    each = 1 if weights is None else weights[:, None].double()
    hits, given, true = (
        (entries * each).sum().item() for entries in (answers & truth, answers, truth)
    )
    return 2 * hits / (given + true) if given + true else 1.0
