"""One student of the ensemble: a body, a connection to the students before it and a head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bdistil.core.connections import Hidden, build_connection, head_sources


@dataclass(frozen=True)
class StudentConfig:
    """Everything but the weights of a student, JSON-able.

    Attributes:
        kind: name of the student class in the zoo.
        width: the class's measure of size (units or channels).
        connection: how it uses the students before it.
        skip: whether its logits are added to the ensemble's.
    """

    kind: str
    width: int
    connection: str
    skip: bool


class Student(nn.Module):
    """f_t, or with `skip` its increment: maps inputs and earlier hidden states to logits a_t.

    Args:
        config: what is built.
        body: maps inputs (B, ...) to features (B, body.features).
        outputs: L.
        earlier: features of each earlier student, first to last.
    """

    def __init__(
        self, config: StudentConfig, body: nn.Module, outputs: int, earlier: Sequence[int]
    ) -> None:
        super().__init__()
        self.config = config
        self.body = body
        self.connection = build_connection(config.connection, body_features(body), earlier)
        self.sources = head_sources(config.connection, earlier)
        self.source_sizes = (*(earlier[s] for s in self.sources), self.features)
        self.head = nn.Linear(sum(self.source_sizes), outputs)
        if config.skip:  # starts as the ensemble without it
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)

    @property
    def features(self) -> int:
        """Size of the hidden state."""
        return self.connection.features

    @property
    def device(self) -> torch.device:
        """Where its weights lie."""
        return self.head.weight.device

    def hidden(self, x: Tensor, earlier: Sequence[Hidden]) -> Hidden:
        """The student's hidden state for inputs (B, ...)."""
        state: Hidden = self.connection(self.body(x), earlier)
        return state

    def forward(self, x: Tensor, earlier: Sequence[Hidden]) -> tuple[Tensor, Hidden]:
        """Logits a_t, float (B, L), and the hidden state for the students after it."""
        hidden = self.hidden(x, earlier)
        features = hidden.features
        if self.sources:
            features = torch.cat([*(earlier[s].features for s in self.sources), features], dim=1)
        logits: Tensor = self.head(features)
        return logits, hidden

    @torch.no_grad()
    def centre_head(self) -> None:
        """Make the logits sum to zero, as the teacher's do; softmax does not see the difference."""
        self.head.weight.sub_(self.head.weight.mean(dim=0))
        self.head.bias.sub_(self.head.bias.mean())

    @torch.no_grad()
    def rescale(self, scale: Tensor, shift: Tensor) -> None:
        """Map the logits to scale · a_t + shift, each (L,): from standardised to raw targets."""
        self.head.weight.mul_(scale[:, None])
        self.head.bias.mul_(scale).add_(shift)


def body_features(body: nn.Module) -> int:
    """Size of the features that a student's body declares in its attribute `features`."""
    features = body.features
    assert isinstance(features, int), f"{type(body).__name__}.features must be an int"
    return features


def student_logits(previous: Tensor, logits: Tensor, stage: int, skip: bool) -> Tensor:
    """f_t from F_{t-1} and the student's logits a_t, for `stage` t counted from 1."""
    return previous + stage * logits if skip else logits


def advance(previous: Tensor, logits: Tensor, stage: int, skip: bool) -> Tensor:
    """F_t = F_{t-1} + (f_t - F_{t-1}) / t, which is F_{t-1} + a_t with `skip`."""
    return previous + logits if skip else previous + (logits - previous) / stage
