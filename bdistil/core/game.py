"""The two-player game of B-DISTIL, kept as one margin matrix.

The paper (arXiv 2302.10093) weighs N training points and L labels by two non-negative
matrices: K+ where the ensemble is too low, K- where it is too high. Both follow from the margin

    M = η Σ_s (f_s - g),    K± ∝ exp(∓M),

so only M (float32) is kept, and every sum of exponentials goes through logsumexp.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Normalisation = Literal["joint", "per_label"]


def log_entries(examples: int, outputs: int, normalisation: Normalisation) -> float:
    """Log of the number of entries that share one distribution: 2N, or 2NL when joint."""
    return math.log(2 * examples * (outputs if normalisation == "joint" else 1))


def step_size(bound: float, rounds: int, entries: float) -> float:
    """η = sqrt(log(entries) / T) / bound, the step for which the guarantee is proved.

    Args:
        bound: G, an upper bound of max|f - g|, in logits.
        rounds: T, the number of rounds to be played.
        entries: the logarithm given by :func:`log_entries`.
    """
    return math.sqrt(entries / rounds) / bound


def guarantee(bound: float, rounds: int, entries: float) -> float:
    """Bound on max|F_T - g| after T rounds of non-negative edges: 2 G sqrt(log(entries) / T)."""
    return 2 * bound * math.sqrt(entries / rounds)


def column_log_normaliser(margin: Tensor) -> Tensor:
    """log Σ_i 2 cosh(M_ij) for each label, float32 (L,); partial sums combine by logsumexp."""
    magnitude = margin.abs()
    return torch.logsumexp(magnitude + torch.log1p(torch.exp(-2 * magnitude)), dim=0)


@dataclass(frozen=True)
class Verdict:
    """What the edges of one student say.

    Attributes:
        edges: E_j for each label, float64 (L,).
        edge: the edge that decides: the sum over labels when joint, else the least one.
        relative: `edge` as a share of the largest that gaps of this size could have, in [-1, 1].
    """

    edges: Tensor
    edge: float
    relative: float


@dataclass(frozen=True)
class Game:
    """State of the game on some or all training rows.

    Attributes:
        margin: M, float32 (N, L).
        step: η > 0.
        normalisation: ``per_label`` makes each column of [K+; K-] a distribution (the paper);
            ``joint`` makes all 2NL entries one.
        log_normaliser: float32 (L,), of *all* rows when `margin` holds only a shard of them.
    """

    margin: Tensor
    step: float
    normalisation: Normalisation
    log_normaliser: Tensor

    @classmethod
    def of(
        cls,
        margin: Tensor,
        step: float,
        normalisation: Normalisation,
        columns: Tensor | None = None,
    ) -> Game:
        """The game whose margin is `margin`; `columns` are its column normalisers if known."""
        columns = column_log_normaliser(margin) if columns is None else columns
        joint = normalisation == "joint"
        total = torch.logsumexp(columns, dim=0).expand_as(columns) if joint else columns
        return cls(margin, step, normalisation, total)

    @classmethod
    def start(
        cls, examples: int, outputs: int, step: float, normalisation: Normalisation = "joint"
    ) -> Game:
        """The game before the first round: M = 0, all weights equal."""
        return cls.of(torch.zeros(examples, outputs), step, normalisation)

    def weights(self) -> tuple[Tensor, Tensor]:
        """K+ and K-, float32 (N, L) each."""
        return (
            torch.exp(-self.margin - self.log_normaliser),
            torch.exp(self.margin - self.log_normaliser),
        )

    def pull(self) -> Tensor:
        """K+ - K-, float32 (N, L): positive where the ensemble should rise."""
        raised, lowered = self.weights()
        return raised - lowered

    def judge(self, gap: Tensor) -> Verdict:
        """Edges of a student with gap f - g, (N, L): E_j = Σ_i (K+ - K-)_ij (f - g)_ij."""
        pull = self.pull()
        edges = (pull * gap).sum(dim=0, dtype=torch.float64)
        largest = (pull.abs() * gap.abs()).sum(dim=0, dtype=torch.float64)
        if self.normalisation == "joint":
            edge, reach = edges.sum(), largest.sum()
            return Verdict(edges, edge.item(), (edge / reach).item() if reach > 0 else 0.0)
        relative = torch.where(largest > 0, edges / largest.clamp_min(1e-300), 0.0)
        return Verdict(edges, edges.min().item(), relative.min().item())

    def play(self, gap: Tensor) -> Game:
        """The game after a student with gap f - g, (N, L), joined: M + η (f - g)."""
        return Game.of(self.margin + self.step * gap, self.step, self.normalisation)

    def ensemble_gap(self, rounds: int) -> Tensor:
        """F_T - g = M / (η T) after `rounds` rounds, float32 (N, L)."""
        return self.margin / (self.step * rounds)

    def certificate(self, rounds: int) -> float:
        """A bound on max|F_T - g| that holds whatever the edges were, in logits."""
        return self.log_normaliser.max().item() / (self.step * rounds)
