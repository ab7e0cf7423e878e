"""A batch that gets smaller: examples leave at different stages."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bdistil.runtime.exits import SCORES, Floats
from bdistil.runtime.runner import Progress, Runner


class PartialBatch:
    """A batch whose examples leave at different stages.

    Attributes:
        rows: of the batch, that are still in.
        progress: of these rows.
        trace: what each stage so far answered for these rows.
        logits: of all rows, from the last stage that each did, float32 (B, L).
        stages: how many stages each row did, int (B,).
    """

    def __init__(
        self, runner: Runner, progress: Progress, seen: Callable[[Progress], Floats]
    ) -> None:
        self.runner = runner
        self.progress = progress
        self.seen = seen
        self.rows = np.arange(len(progress.logits))
        self.trace: list[Floats] = []
        self.logits = progress.logits.copy()
        self.stages = np.zeros(len(self.rows), np.intp)

    def advance(self) -> None:
        """One stage more for the rows that are still in."""
        if len(self.rows) == 0:
            return
        self.progress = self.runner.advance(self.progress)
        self.logits[self.rows] = self.progress.logits
        self.stages[self.rows] = self.progress.stage
        self.trace.append(self.seen(self.progress))

    def keep(self, index: NDArray[np.intp]) -> None:
        """Go on with these of the rows that are still in."""
        if len(index) == len(self.rows):
            return
        self.rows, self.trace = self.rows[index], [step[index] for step in self.trace]
        self.progress = self.runner.take(self.progress, index)

    def least_sure(self, count: int, score: str) -> NDArray[np.intp]:
        """The `count` rows with the lowest score, in order."""
        order = np.argsort(SCORES[score](self.trace), kind="stable")
        return np.sort(order[:count])
