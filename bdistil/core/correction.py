"""Loss correction: targets of the fitting loss that lean from the teacher's answer to the label.

"Knowledge distillation as semiparametric inference" (arXiv 2104.09732, ICLR 2021). A fitting loss
wants φ(p) of the true probabilities p and has the teacher's p̂ in their place, which is wrong by
φ'(p̂)(p - p̂) to first order. The label y is p on average, so the target becomes

    t = φ(p̂) + γ (y - p̂),    γ = φ'(p̂) s,    0 ≤ s ≤ 1 for each class.

With s = 1 the bias of first order is gone (`orthogonal`) and the label's variance has come in.
The minimax corrections trust the teacher to |p - p̂| ≤ δ and minimise the worst (linearised) squared
bias plus variance, (γ - φ')² δ² + γ² v with v = p̂(1 - p̂), which is least at s = δ² / (δ² + v).
The bounded one ("Enhanced KD") has v = (y - p̂)² and δ² = c.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bdistil.core.losses import average, log_softmax
from bdistil.names import Correction, Distillation

TABULAR_FLOOR = 1 / 500  # of p̂; both as published
FLOOR = 1e-2
POWERS: dict[Correction, float] = {
    "minimax_absolute": 0.0,
    "minimax_power": 0.5,
    "minimax_relative": 1.0,
}
BOUNDS: dict[
    Correction, float
] = {  # c where none is given; all let the teacher be wrong by about 0.03 where p̂ is 1/10
    "bounded": 1e-3,
    "minimax_absolute": 0.03,
    "minimax_power": 0.1,
    "minimax_relative": 0.3,
}


@dataclass(frozen=True)
class CorrectedLoss:
    """A distillation loss against corrected targets.

    Attributes:
        distillation: `kl` is τ² KL of the softmax at temperature τ, `squared_p` the squared error
            of probabilities, `squared_log_p` that of log p, up to the constant of each example that
            softmax does not see: of centred logits.
        correction: how far targets lean to the label.
        bound: c: δ = c·p̂ (`minimax_relative`), c (`minimax_absolute`), c·√p̂ (`minimax_power`),
            δ² = c (`bounded`). Float, or float (K,) for K candidates along the logits' first
            dimension.
        temperature: τ of `kl`.
        floor: p̂ is clipped there and scaled to sum to 1 again, where it is corrected.
    """

    distillation: Distillation = "kl"
    correction: Correction = "none"
    bound: float | Tensor = 0.0
    temperature: float = 1.0
    floor: float = FLOOR

    def __call__(
        self,
        logits: Tensor,
        teacher_logits: Tensor,
        labels: Tensor,
        weights: Tensor | None = None,
    ) -> Tensor:
        """The loss, float (...): summed over classes, averaged over examples.

        Args:
            logits: float (..., B, L): leading dimensions are candidates of their own.
            teacher_logits: g, float (B, L).
            labels: class indices (B,); or 0 and 1, (B, L), where each label holds or not by itself,
                which are two classes each.
            weights: of the examples, float (B,); None weighs all alike.
        """
        if labels.dim() == 2:
            logits, teacher_logits, truth = (
                two_classes(logits),
                two_classes(teacher_logits),
                two_sided(labels),
            )
        else:
            truth = labels[:, None] == torch.arange(teacher_logits.shape[-1], device=labels.device)
        log_p = self.log_probabilities(teacher_logits)
        expected, given = self.targets(log_p, truth.to(log_p)), self.answers(logits)
        if self.distillation == "kl":
            losses = self.temperature**2 * (negative_entropy(self.plain(log_p)) - expected * given)
        else:
            losses = (given - expected).square()
        losses = losses.sum(dim=-1)
        return average(losses if labels.dim() == 1 else losses.mean(dim=-1), weights)

    def log_probabilities(self, teacher_logits: Tensor) -> Tensor:
        """log p̂ of logits, (..., L); clipped only where it is corrected."""
        log_p = log_softmax(teacher_logits)
        if self.correction == "none":
            return log_p
        return log_softmax(log_p.clamp_min(math.log(self.floor)))

    def answers(self, logits: Tensor) -> Tensor:
        """What is held against the targets: log softmax at τ, probabilities, or centred logits."""
        if self.distillation == "kl":
            return log_softmax(logits / self.temperature)
        return log_softmax(logits).exp() if self.distillation == "squared_p" else centred(logits)

    def plain(self, log_p: Tensor) -> Tensor:
        """φ(p̂): softmax at τ, p̂ itself, or its centred logarithm."""
        if self.distillation == "kl":
            return (log_p / self.temperature).softmax(dim=-1)
        return log_p.exp() if self.distillation == "squared_p" else centred(log_p)

    def targets(self, log_p: Tensor, truth: Tensor) -> Tensor:
        """t = φ(p̂) + φ'(p̂) s (y - p̂), float (..., L), for truth of 0 and 1."""
        plain = self.plain(log_p)
        if self.correction == "none":
            return plain
        p = log_p.exp()
        step = self.label_weight(p, truth) * (truth - p)
        if self.distillation == "squared_p":
            return plain + step
        if self.distillation == "squared_log_p":
            return plain + centred(step / p)
        rise = step / p / self.temperature
        return plain + plain * (rise - (plain * rise).sum(dim=-1, keepdim=True))

    def label_weight(self, p: Tensor, truth: Tensor) -> Tensor:
        """s of a correction, float (..., L)."""
        if self.correction == "orthogonal":
            return torch.ones_like(p)
        c = self._bound_beside(p)
        if self.correction == "bounded":
            return c / (c + (truth - p).square())
        error = (c * p ** POWERS[self.correction]).square()
        return error / (error + p * (1 - p))

    def _bound_beside(self, p: Tensor) -> Tensor:
        bound = torch.as_tensor(self.bound, dtype=p.dtype, device=p.device)
        return bound.reshape(bound.shape + (1,) * p.dim()) if bound.dim() else bound


def centred(logits: Tensor) -> Tensor:
    """Logits with mean zero over the classes, the last dimension."""
    return logits - logits.mean(dim=-1, keepdim=True)


def negative_entropy(q: Tensor) -> Tensor:
    """q log q, entry by entry; 0 where q is 0."""
    product: Tensor = torch.special.xlogy(q, q)
    return product


def two_classes(logits: Tensor) -> Tensor:
    """Logits (..., L, 2) whose softmax is sigmoid(logits) and its rest."""
    return torch.stack([logits, torch.zeros_like(logits)], dim=-1)


def two_sided(labels: Tensor) -> Tensor:
    """Labels 0 and 1, (B, L), as truth (B, L, 2)."""
    return torch.stack([labels, 1 - labels], dim=-1)
