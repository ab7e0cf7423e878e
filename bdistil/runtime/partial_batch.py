"""A batch that gets smaller: examples leave at different stages."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from bdistil.runtime.exits import SCORES, ExitPolicy, Floats
from bdistil.runtime.runner import Progress, Runner


def stages_of_one(
    runner: Runner,
    example: NDArray[np.float32],
    stages: int,
    seen: Callable[[Progress], Floats],
    policy: ExitPolicy,
) -> Iterator[Progress]:
    """Stage after stage of a batch of one, (1, ...), until a policy is sure of it."""
    progress, trace, sure = runner.begin(example), [], False
    while progress.stage < stages and not sure:
        progress = runner.advance(progress)
        if progress.stage < stages:
            trace.append(seen(progress))
            sure = bool(policy.leaves(trace)[0])
        yield progress


class PartialBatch:
    """A batch whose examples leave at different stages.

    Args:
        runner: of the ensemble.
        progress: of the whole batch, before its first stage.
        seen: what the scores look at of a stage's answers.

    Attributes:
        rows: of the batch, that are still in.
        progress: of these rows.
        trace: what each stage that was looked at answered for these rows.
    """

    def __init__(
        self, runner: Runner, progress: Progress, seen: Callable[[Progress], Floats]
    ) -> None:
        self.runner = runner
        self.progress = progress
        self.seen = seen
        self.rows = np.arange(len(progress.logits))
        self.trace: list[Floats] = []
        self._logits = progress.logits.copy()
        self._stages = np.zeros(len(self.rows), np.intp)

    def advance(self) -> None:
        """One stage more for the rows that are still in."""
        if len(self.rows):
            self.progress = self.runner.advance(self.progress)

    def leave(self, policy: ExitPolicy) -> None:
        """Let go of the rows that a policy is sure of by now."""
        self._look()
        self._keep(np.flatnonzero(~policy.leaves(self.trace)))

    def keep_least_sure(self, count: int, score: str) -> None:
        """Go on with the `count` rows with the lowest score."""
        self._look()
        order = np.argsort(SCORES[score](self.trace), kind="stable")
        self._keep(np.sort(order[:count]))

    def found(self) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """Logits from the last stage that each row did, float32 (B, L), and its number, (B,)."""
        self._note()
        return self._logits, self._stages

    def _look(self) -> None:
        self.trace.append(self.seen(self.progress))

    def _keep(self, index: NDArray[np.intp]) -> None:
        """Go on with these of the rows that are still in."""
        if len(index) == len(self.rows):
            return
        self._note()
        self.rows, self.trace = self.rows[index], [step[index] for step in self.trace]
        self.progress = self.runner.take(self.progress, index)

    def _note(self) -> None:
        """What is known of the rows that are still in."""
        self._logits[self.rows] = self.progress.logits
        self._stages[self.rows] = self.progress.stage


def stages_of_all(
    runner: Runner,
    x: NDArray[np.float32],
    stages: int,
    seen: Callable[[Progress], Floats],
    policy: ExitPolicy,
) -> Iterator[PartialBatch]:
    """Stage after stage of a batch, (B, ...), until a policy is sure of all examples."""
    run = PartialBatch(runner, runner.begin(x), seen)
    while len(run.rows) and run.progress.stage < stages:
        run.advance()
        if run.progress.stage < stages:
            run.leave(policy)
        yield run
