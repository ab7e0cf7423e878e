"""The two-player game of B-DISTIL, kept as one margin matrix.

The paper (arXiv 2302.10093) weighs N training points and L labels by two non-negative
matrices: K+ where the ensemble is too low, K- where it is too high. Both follow from the margin

    M = η Σ_s (f_s - g),    K± ∝ exp(∓M),

so only M (float32) is kept, and every sum of exponentials goes through logsumexp.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bdistil.names import Normalisation

ASSUMED_GAP = 2
"""G = max|f - g| that η is made for, in units of max|g|: a student is as large as its teacher."""


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


@dataclass(frozen=True)
class Rules:
    """Constants of a run's game.

    Attributes:
        step: η > 0.
        normalisation: ``per_label`` makes each column of [K+; K-] a distribution (the paper);
            ``joint`` makes all 2NL entries one.
        bound: max|g| on the training split, in logits.
        scale: mean|g| on the training split, in logits.
    """

    step: float
    normalisation: Normalisation
    bound: float
    scale: float

    @property
    def joint(self) -> bool:
        """Whether one distribution covers all labels."""
        return self.normalisation == "joint"


@dataclass(frozen=True)
class Summary:
    """What the weights of one row need to know of all rows.

    Attributes:
        rows: N.
        log_cosh: log Σ_i 2 cosh(M_ij), float64 (L,).
        log_sinh: log Σ_i 2 sinh|M_ij|, float64 (L,); minus infinity where all M_ij are zero.
    """

    rows: int
    log_cosh: Tensor
    log_sinh: Tensor

    @classmethod
    def of(cls, margin: Tensor) -> Summary:
        """Of a margin matrix or of some rows of it, (N, L)."""
        log_cosh = torch.logaddexp(log_sum(margin), log_sum(-margin))
        return cls(len(margin), log_cosh, log_sum(log_two_sinh(margin)))

    @classmethod
    def start(cls, rows: int, outputs: int) -> Summary:
        """Before the first round, when all margins are zero."""
        return cls(
            rows,
            torch.full((outputs,), math.log(2 * rows), dtype=torch.float64),
            torch.full((outputs,), -math.inf, dtype=torch.float64),
        )

    @classmethod
    def merged(cls, parts: Sequence[Summary]) -> Summary:
        """Of a matrix from those of its shards, in order."""
        return cls(
            sum(part.rows for part in parts),
            torch.logsumexp(torch.stack([part.log_cosh for part in parts]), dim=0),
            torch.logsumexp(torch.stack([part.log_sinh for part in parts]), dim=0),
        )

    def to(self, device: torch.device | str) -> Summary:
        """The same on another device."""
        return Summary(self.rows, self.log_cosh.to(device), self.log_sinh.to(device))


def certificate(summary: Summary, rules: Rules, rounds: int) -> float:
    """A bound on max|F_T - g| after T rounds, whatever their edges were, in logits.

    max_j log Σ_i 2 cosh(M_ij) / (η T), since every |M_ij| is below that logarithm.
    """
    return summary.log_cosh.max().item() / (rules.step * rounds)


def log_sum(logs: Tensor) -> Tensor:
    """log Σ_i exp(logs_ij), float64 (L,), to a relative error of the sum of 1e-7.

    In float32 that error would be that of the logarithm's last digit: 6% at 1e6.
    """
    peak = logs.amax(dim=0)
    peak = torch.where(torch.isfinite(peak), peak, 0.0)
    return peak.double() + torch.log(torch.exp(logs - peak).sum(dim=0, dtype=torch.float64))


def exp_over(logs: Tensor, log_total: Tensor) -> Tensor:
    """exp(logs - log_total), float32 like `logs`; two large logarithms are subtracted exactly."""
    return torch.exp((logs.double() - log_total).to(logs.dtype))


def log_two_sinh(margin: Tensor) -> Tensor:
    """log(2 sinh|M|); the difference of two exponentials would cancel where M is small."""
    size = margin.abs()
    return size + torch.log(-torch.expm1(-2 * size))


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

    @classmethod
    def of(cls, edges: Tensor, largest: Tensor, *, joint: bool) -> Verdict:
        """From Σ_i pull · gap and Σ_i |pull| · |gap| for each label, float64 (L,)."""
        if joint:
            edge, reach = edges.sum(), largest.sum()
            return cls(edges, edge.item(), (edge / reach).item() if reach > 0 else 0.0)
        relative = torch.where(largest > 0, edges / largest.clamp_min(1e-300), 0.0)
        return cls(edges, edges.min().item(), relative.min().item())


@dataclass(frozen=True)
class Game:
    """State of the game on all training rows, or on a shard of them.

    Attributes:
        margin: M, float32 (N, L).
        rules: constants of the game.
        summary: of *all* rows, also when `margin` holds only a shard.
    """

    margin: Tensor
    rules: Rules
    summary: Summary

    @classmethod
    def of(cls, margin: Tensor, rules: Rules) -> Game:
        """The game whose whole margin is `margin`."""
        return cls(margin, rules, Summary.of(margin))

    @classmethod
    def start(cls, examples: int, outputs: int, rules: Rules) -> Game:
        """The game before the first round: M = 0, all weights equal."""
        return cls.of(torch.zeros(examples, outputs), rules)

    @property
    def log_normaliser(self) -> Tensor:
        """Log of the sum of the unnormalised weights, float64 (L,); the same for all if joint."""
        columns = self.summary.log_cosh
        if not self.rules.joint:
            return columns
        return torch.logsumexp(columns, dim=0).expand_as(columns)

    def weights(self) -> tuple[Tensor, Tensor]:
        """K+ and K-, float32 (N, L) each."""
        return (
            exp_over(-self.margin, self.log_normaliser),
            exp_over(self.margin, self.log_normaliser),
        )

    def pull(self, rows: slice | Tensor = slice(None)) -> Tensor:
        """K+ - K- of some rows, float32 (n, L): positive where the ensemble should rise."""
        margin = self.margin[rows]
        return -margin.sign() * exp_over(log_two_sinh(margin), self.log_normaliser)

    def direction(self, rows: slice | Tensor = slice(None)) -> Tensor:
        """K+ - K- of some rows, rescaled to a mean magnitude of 1 over all rows.

        Overall if joint, else in each column. A degenerate game (all weights equal, as before
        round 1) has the direction zero.
        """
        columns = self.summary.log_sinh
        size = columns - math.log(self.summary.rows)
        if self.rules.joint:
            size = (torch.logsumexp(size, dim=0) - math.log(len(size))).expand_as(size)
        margin = self.margin[rows]
        direction = -margin.sign() * exp_over(log_two_sinh(margin), size)
        return torch.where(torch.isfinite(size), direction, 0.0)

    def judge(self, gap: Tensor) -> Verdict:
        """Edges of a student with gap f - g, (N, L): E_j = Σ_i (K+ - K-)_ij (f - g)_ij."""
        return Verdict.of(*self.edge_sums(gap), joint=self.rules.joint)

    def edge_sums(self, gap: Tensor, rows: slice | Tensor = slice(None)) -> tuple[Tensor, Tensor]:
        """Σ_i pull · gap and Σ_i |pull| · |gap| over some rows, float64 (L,)."""
        product = self.pull(rows) * gap
        return (
            product.sum(dim=0, dtype=torch.float64),
            product.abs().sum(dim=0, dtype=torch.float64),
        )

    def play(self, gap: Tensor) -> Game:
        """The game after a student with gap f - g, (N, L), joined: M + η (f - g)."""
        return Game.of(self.margin + self.rules.step * gap, self.rules)

    def ensemble_gap(self, rounds: int, rows: slice | Tensor = slice(None)) -> Tensor:
        """F_T - g = M / (η T) after `rounds` rounds, on some rows, float32 (n, L)."""
        return self.margin[rows] / (self.rules.step * rounds)

    def certificate(self, rounds: int) -> float:
        """A bound on max|F_T - g| that holds whatever the edges were, in logits."""
        return certificate(self.summary, self.rules, rounds)
