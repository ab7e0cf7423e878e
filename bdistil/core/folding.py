"""Folding: stage t of an ensemble needs one linear head, whatever its students' heads read.

F_t is a linear combination of the students' logits, and these are linear in the hidden states, so
the heads of students 1..t add up to one weight for each hidden state. A dense ensemble that is run
straight to a known stage then costs what one without connections costs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from bdistil.core.connections import Hidden
from bdistil.core.progressive_ensemble import ProgressiveEnsemble


class FoldedPrefix(nn.Module):
    """F_t at one stage: the bodies and connections of students 1..t and one linear head."""

    def __init__(self, ensemble: ProgressiveEnsemble, stage: int) -> None:
        super().__init__()
        students = list(ensemble)[:stage]  # without their heads, which the one head replaces
        self.bodies = nn.ModuleList(student.body for student in students)
        self.connections = nn.ModuleList(student.connection for student in students)
        weight, bias = folded_head(ensemble, stage)
        self.head = nn.Linear(weight.shape[1], weight.shape[0], device=weight.device)
        self.head.weight, self.head.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        """F_t, float (B, L), for inputs (B, ...)."""
        return self.joined([body(x) for body in self.bodies])

    def joined(self, features: Sequence[Tensor]) -> Tensor:
        """F_t from the features of each body, which do not depend on one another."""
        states = connected(features, self.connections)
        logits: Tensor = self.head(torch.cat([state.features for state in states], dim=1))
        return logits


def connected(features: Sequence[Tensor], connections: Iterable[nn.Module]) -> list[Hidden]:
    """Hidden states of students from the features of their bodies, (B, own) each."""
    states: list[Hidden] = []
    for own, connection in zip(features, connections, strict=True):
        states.append(connection(own, states))
    return states


@torch.no_grad()
def folded_head(ensemble: ProgressiveEnsemble, stage: int) -> tuple[Tensor, Tensor]:
    """Weight (L, Σ d_k) over the hidden states 1..t and bias (L,) of stage t."""
    students = list(ensemble)[:stage]
    shares = logit_shares([student.config.skip for student in students])
    columns = [torch.zeros_like(student.head.weight[:, : student.features]) for student in students]
    bias = torch.zeros_like(students[0].head.bias)
    for own, (student, share) in enumerate(zip(students, shares, strict=True)):
        pieces = student.head.weight.split(student.source_sizes, dim=1)
        for source, piece in zip((*student.sources, own), pieces, strict=True):
            columns[source] = columns[source] + share * piece
        bias = bias + share * student.head.bias
    return torch.cat(columns, dim=1), bias


def logit_shares(skips: list[bool]) -> list[float]:
    """Factor of each student's logits a_s in F_t, given which students skip.

    F_t = F_{t-1} + a_t with skip and F_{t-1} (t-1)/t + a_t/t without.
    """
    shares: list[float] = []
    for stage, skip in enumerate(skips, start=1):
        if skip:
            shares.append(1.0)
        else:
            shares = [share * (stage - 1) / stage for share in shares] + [1 / stage]
    return shares
