"""What a candidate student is trained on: a fitting loss and a weak-learning term."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Task = Literal["classification", "regression"]

BARRIER_FLOOR = 0.05  # below it the logarithm is continued by its tangent


def fitting_loss(
    logits: Tensor,
    teacher: Tensor,
    labels: Tensor | None,
    *,
    task: Task = "classification",
    label_share: float = 0.0,
    temperature: float = 1.0,
) -> Tensor:
    """(1 - share) · distillation + share · label loss, averaged over the batch.

    Args:
        logits: float (B, L), of the ensemble or the student that is fitted.
        teacher: g, float (B, L).
        labels: class indices (B,) or targets (B, L); None drops the label loss.
        task: KL and cross-entropy for classification, squared errors for regression.
        label_share: weight of the labels, in [0, 1].
        temperature: τ of the distillation loss, which is scaled by τ² to keep its gradients.
    """
    share = label_share if labels is not None else 0.0
    loss = logits.new_zeros(())
    if share < 1:
        loss = loss + (1 - share) * distillation_loss(logits, teacher, task, temperature)
    if share > 0:
        assert labels is not None
        loss = loss + share * label_loss(logits, labels, task)
    return loss


def distillation_loss(logits: Tensor, teacher: Tensor, task: Task, temperature: float) -> Tensor:
    """τ² KL(softmax(g/τ) ‖ softmax(logits/τ)), or the mean squared error for regression."""
    if task == "regression":
        return F.mse_loss(logits, teacher)
    return temperature**2 * F.kl_div(
        F.log_softmax(logits / temperature, dim=1),
        F.log_softmax(teacher / temperature, dim=1),
        log_target=True,
        reduction="batchmean",
    )


def label_loss(logits: Tensor, labels: Tensor, task: Task) -> Tensor:
    """Cross-entropy against class indices, or the mean squared error against targets."""
    return F.mse_loss(logits, labels) if task == "regression" else F.cross_entropy(logits, labels)


def log_barrier(gap: Tensor, rise: Tensor, bound: float) -> Tensor:
    """The paper's weak-learning term, a mean over examples of a sum over labels.

    -Σ_j [I+ log(1 + l/2B) + (1 - I+) log(1 - l/2B)] with l = f - g (arXiv 2302.10093).
    A hard clamp would kill the gradient outside the domain, so below
    :data:`BARRIER_FLOOR` the logarithm goes on as its tangent.

    Args:
        gap: l = f - g, float (B, L).
        rise: I+ = [K+ > K-], bool (B, L).
        bound: B, with |f|, |g| ≤ B.
    """
    inside = 1 + torch.where(rise, gap, -gap) / (2 * bound)
    tangent = math.log(BARRIER_FLOOR) + (inside - BARRIER_FLOOR) / BARRIER_FLOOR
    logarithm = torch.where(inside > BARRIER_FLOOR, inside.clamp_min(BARRIER_FLOOR).log(), tangent)
    return -logarithm.sum(dim=1).mean()


def edge_hinge(gap: Tensor, direction: Tensor, scale: float, *, joint: bool) -> Tensor:
    """relu(-ê): zero once the batch's edge holds, so that it stops pushing.

    Args:
        gap: l = f - g, float (B, L).
        direction: K+ - K- rescaled (see ``Game.direction``), float (B, L).
        scale: mean|g|, which makes ê free of units.
        joint: one edge over all labels instead of the mean over one hinge a label.
    """
    edges = (direction * gap).mean(dim=0) / scale
    return torch.relu(-edges.mean()) if joint else torch.relu(-edges).mean()
