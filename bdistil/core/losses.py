"""What a candidate student is trained on: a fitting loss and a weak-learning term."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from bdistil.names import Task

Loss = Callable[[Tensor, Tensor, Tensor | None], Tensor]

BARRIER_FLOOR = 0.05  # below it the logarithm is continued by its tangent


def fitting_loss(
    logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor | None,
    *,
    task: Task = "classification",
    label_share: float = 0.0,
    temperature: float = 1.0,
    weights: Tensor | None = None,
) -> Tensor:
    """(1 - share) · distillation + share · label loss, averaged over the batch.

    Args:
        logits: float (..., B, L), of the ensemble or the student that is fitted.
        teacher_logits: g, float (B, L).
        labels: class indices (B,) or shares of the classes (B, L), targets (B, L), or 0 and 1
            (B, L) for several labels at once; None drops the label loss.
        task: KL and cross-entropy for classification, both for each label by itself for
            multilabel, squared errors for regression.
        label_share: weight of the labels, in [0, 1].
        temperature: τ of the distillation loss, which is scaled by τ² to keep its gradients.
        weights: of the examples, float (B,); None weighs all alike.

    Returns:
        The loss, float (...): leading dimensions of `logits` are candidates of their own.
    """
    share = label_share if labels is not None else 0.0
    if is_mixture(task, share, temperature):
        soft = soft_labels(teacher_logits, labels, share, temperature)
        return mixed_loss(logits, soft, temperature, weights)
    distil, fit = distillation_loss(task, temperature), LABEL_LOSS[task]
    if labels is None or share == 0:
        return distil(logits, teacher_logits, weights)
    return (1 - share) * distil(logits, teacher_logits, weights) + share * fit(
        logits, labels, weights
    )


def average(losses: Tensor, weights: Tensor | None = None) -> Tensor:
    """The mean over examples of losses (..., B), float (...).

    Weights (B,) are multiplied in and not summed: their mean is 1 over the split that a batch is
    drawn from, so the mean over batches is the split's weighted mean.
    """
    return (losses if weights is None else losses * weights).mean(dim=-1)


def distillation_loss(task: Task, temperature: float) -> Loss:
    """How far logits (..., B, L) are from the teacher's (B, L), float (...)."""
    if task == "regression":
        return squared_error
    return partial(kl_divergence if task == "classification" else binary_divergence, temperature)


class SoftLabels(NamedTuple):
    """What the probabilities of classes are compared with.

    Attributes:
        shares: of the classes, float (B, L), each row summing to 1.
        constant: of the loss that no student changes, float (B,).
    """

    shares: Tensor
    constant: Tensor

    def take(self, rows: slice) -> SoftLabels:
        """Those of some rows."""
        return SoftLabels(self.shares[rows], self.constant[rows])


def is_mixture(task: Task, share: float, temperature: float) -> bool:
    """Whether the fitting loss compares one softmax of the logits with :class:`SoftLabels`."""
    return task == "classification" and (share == 0 or temperature == 1)


def soft_labels(
    teacher_logits: Tensor, labels: Tensor | None, share: float, temperature: float
) -> SoftLabels:
    """The teacher's probabilities at τ with a share of the labels, where these are known."""
    expected = F.log_softmax(teacher_logits / temperature, dim=-1)
    shares = expected.exp()
    constant = (1 - share) * (shares * expected).sum(dim=-1)
    if labels is None or share == 0:
        return SoftLabels(shares, constant)
    if labels.dim() == 1:
        labels = labels[:, None] == torch.arange(teacher_logits.shape[-1], device=labels.device)
    return SoftLabels(torch.lerp(shares, labels.to(shares), share), constant)


def mixed_loss(
    logits: Tensor, soft: SoftLabels, temperature: float, weights: Tensor | None = None
) -> Tensor:
    """τ² ((1 - share) · KL + share · cross-entropy), float (...), for logits (..., B, L)."""
    given = log_softmax(logits if temperature == 1 else logits / temperature)
    losses = soft.constant - (soft.shares * given).sum(dim=-1)
    return temperature**2 * average(losses, weights)


def kl_divergence(
    temperature: float, logits: Tensor, teacher_logits: Tensor, weights: Tensor | None = None
) -> Tensor:
    """τ² KL(softmax(g/τ) ‖ softmax(logits/τ)), float (...), for logits (..., B, L)."""
    return mixed_loss(
        logits, soft_labels(teacher_logits, None, 0.0, temperature), temperature, weights
    )


def cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cross-entropy against classes (B,) or shares (B, L), float (...), for logits (..., B, L)."""
    if labels.dim() == 2:
        return -average((labels * log_softmax(logits)).sum(dim=-1), weights)
    index = labels[:, None].expand(*logits.shape[:-1], 1)
    return -average(log_softmax(logits).gather(-1, index)[..., 0], weights)


def binary_divergence(
    temperature: float, logits: Tensor, teacher_logits: Tensor, weights: Tensor | None = None
) -> Tensor:
    """τ² KL(sigmoid(g/τ) ‖ sigmoid(logits/τ)), a mean over labels, for logits (..., B, L).

    KL between sigmoids is the Bregman divergence of softplus, whose derivative is the sigmoid.
    """
    given, wanted = logits / temperature, teacher_logits / temperature
    tangent = F.softplus(wanted) + torch.sigmoid(wanted) * (given - wanted)
    return temperature**2 * average((F.softplus(given) - tangent).mean(dim=-1), weights)


def binary_cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean cross-entropy of each label by itself against 0 and 1 (B, L), float (...)."""
    return average((F.softplus(logits) - labels * logits).mean(dim=-1), weights)


def log_softmax(logits: Tensor) -> Tensor:
    """Over the labels of logits (..., B, L).

    For several candidates at once it runs along the examples: on a CPU that takes a sixth of the
    time when labels are few, and the values are the same to the bit.
    """
    if logits.dim() == 2:
        return F.log_softmax(logits, dim=-1)
    return F.log_softmax(logits.mT, dim=-2).mT


def squared_error(outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean squared error against targets (B, L), float (...), for outputs (..., B, L)."""
    return average((outputs - targets).square().mean(dim=-1), weights)


LABEL_LOSS: dict[Task, Loss] = {
    "classification": cross_entropy,
    "multilabel": binary_cross_entropy,
    "regression": squared_error,
}


def log_barrier(gap: Tensor, rise: Tensor, bound: float) -> Tensor:
    """The paper's weak-learning term, a mean over examples of a sum over labels.

    -Σ_j [I+ log(1 + l/2B) + (1 - I+) log(1 - l/2B)] with l = f - g (arXiv 2302.10093).
    A hard clamp would kill the gradient outside the domain, so below
    :data:`BARRIER_FLOOR` the logarithm goes on as its tangent.

    Args:
        gap: l = f - g, float (..., B, L).
        rise: I+ = [K+ > K-], bool (B, L).
        bound: B, with |f|, |g| ≤ B.
    """
    inside = 1 + torch.where(rise, gap, -gap) / (2 * bound)
    tangent = math.log(BARRIER_FLOOR) + (inside - BARRIER_FLOOR) / BARRIER_FLOOR
    logarithm = torch.where(inside > BARRIER_FLOOR, inside.clamp_min(BARRIER_FLOOR).log(), tangent)
    return -logarithm.sum(dim=-1).mean(dim=-1)


def edge_hinge(gap: Tensor, direction: Tensor, scale: float, *, joint: bool) -> Tensor:
    """relu(-ê): zero once the batch's edge holds, so that it stops pushing.

    Args:
        gap: l = f - g, float (..., B, L).
        direction: K+ - K- rescaled (see ``Game.direction``), float (B, L).
        scale: mean|g|, which makes ê free of units.
        joint: one edge over all labels instead of the mean over one hinge a label.
    """
    pull = direction * gap
    if joint:
        return torch.relu(pull.mean(dim=(-2, -1)) / -scale)
    return torch.relu(pull.mean(dim=-2) / -scale).mean(dim=-1)
