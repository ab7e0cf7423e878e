"""What the predictor asks of an ensemble, whatever computes it: numpy in, numpy out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Progress:
    """How far a batch has come.

    Attributes:
        stage: stages done, 0 at the start.
        logits: F_stage, float32 (B, L); zeros at the start.
        state: the runner's own: inputs and cached activations.
    """

    stage: int
    logits: NDArray[np.float32]
    state: Any


class Runner(Protocol):
    """Runs an ensemble stage by stage, or straight to a stage."""

    def begin(self, x: NDArray[np.float32]) -> Progress:
        """A batch of raw examples (B, ...) before the first stage."""

    def advance(self, progress: Progress) -> Progress:
        """One stage further; no student runs twice."""

    def take(self, progress: Progress, rows: NDArray[np.intp]) -> Progress:
        """Some rows of a batch, to go on with these alone."""

    def straight(self, x: NDArray[np.float32], stage: int) -> NDArray[np.float32]:
        """F_stage, float32 (B, L), without answers on the way (folded heads)."""
