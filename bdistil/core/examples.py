"""What a trial knows of one split in one round, and the objective it trains on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from bdistil.core.connections import Hidden
from bdistil.core.ensemble import ProgressiveEnsemble, hidden_states, take
from bdistil.core.losses import Task, fitting_loss
from bdistil.core.student import Student, advance, student_logits


@dataclass(frozen=True)
class Examples:
    """One split as seen in the round of stage t, all on one device.

    Attributes:
        inputs: standardised features, float32 (N, ...).
        teacher: g, centred logits, float32 (N, L).
        labels: class indices (N,) or targets (N, L); None if unknown.
        ensemble: F_{t-1}, float32 (N, L); zeros before the first round.
        earlier: hidden states of the students 1..t-1.
    """

    inputs: Tensor
    teacher: Tensor
    labels: Tensor | None
    ensemble: Tensor
    earlier: list[Hidden] = field(default_factory=list)

    @classmethod
    def before_round_one(cls, inputs: Tensor, teacher: Tensor, labels: Tensor | None) -> Examples:
        """The split when no student is there yet."""
        return cls(inputs, teacher, labels, torch.zeros_like(teacher))

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def stage(self) -> int:
        """t, counted from 1, of the student that this round looks for."""
        return len(self.earlier) + 1

    def take(self, rows: Tensor) -> Examples:
        """Some rows."""
        return Examples(
            self.inputs[rows],
            self.teacher[rows],
            None if self.labels is None else self.labels[rows],
            self.ensemble[rows],
            [take(state, rows) for state in self.earlier],
        )

    def played(self, student: Student) -> tuple[Tensor, Examples]:
        """The gap f_t - g, float32 (N, L), and the split after `student` joined; runs it once."""
        logits, hidden = hidden_states(student, self.inputs, self.earlier)
        skip = student.config.skip
        gap = student_logits(self.ensemble, logits, self.stage, skip) - self.teacher
        combined = advance(self.ensemble, logits, self.stage, skip)
        return gap, replace(self, ensemble=combined, earlier=[*self.earlier, hidden])

    def joined(self, student: Student) -> Examples:
        """The split after `student` was accepted."""
        return self.played(student)[1]

    def gap(self, student: Student) -> Tensor:
        """f_t - g of a candidate, float32 (N, L)."""
        return self.played(student)[0]

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
        task: classification or regression.
        label_share: weight of the labels; 0 compares with the teacher alone.
    """

    task: Task
    label_share: float

    def loss(self, logits: Tensor, examples: Examples) -> float:
        """Loss of `logits` (N, L) on a split, at temperature 1."""
        return fitting_loss(
            logits,
            examples.teacher,
            examples.labels,
            task=self.task,
            label_share=self.label_share,
        ).item()

    def accuracy(self, logits: Tensor, examples: Examples) -> float:
        """Accuracy, or R² for regression, against the labels (the teacher's answers if none)."""
        return metric(logits, reference(examples, self.task), self.task)

    def baseline(self, train: Examples, split: Examples) -> float:
        """Loss on `split` of the ensemble so far; before round 1, of the best constant logits."""
        if train.earlier:
            return self.loss(split.ensemble, split)
        return self.loss(self.best_constant(train).expand_as(split.teacher), split)

    def best_constant(self, train: Examples) -> Tensor:
        """The logits (L,) that, given to every example of `train`, have the least loss."""
        if self.task == "regression":
            centre = train.teacher.mean(dim=0)
            if train.labels is None:
                return centre
            return torch.lerp(centre, train.labels.mean(dim=0), self.label_share)
        probabilities = train.teacher.softmax(dim=1).mean(dim=0)
        if train.labels is not None:
            prior = F.one_hot(train.labels, train.teacher.shape[1]).float().mean(dim=0)
            probabilities = torch.lerp(probabilities, prior, self.label_share)
        return probabilities.clamp_min(1e-12).log()


def reference(examples: Examples, task: Task) -> Tensor:
    """What predictions are held against: the labels or, without any, the teacher's answers."""
    if examples.labels is not None:
        return examples.labels
    return examples.teacher if task == "regression" else examples.teacher.argmax(dim=1)


def metric(logits: Tensor, truth: Tensor, task: Task) -> float:
    """Accuracy of logits (N, L) against class indices (N,), or R² against targets (N, L)."""
    if task == "classification":
        return (logits.argmax(dim=1) == truth).double().mean().item()
    residual = (logits - truth).square().sum(dtype=torch.float64)
    total = (truth - truth.mean(dim=0)).square().sum(dtype=torch.float64)
    return (1 - residual / total.clamp_min(1e-12)).item()  # finite for constant targets
