"""Answers that more time does not turn around: products over the stages so far.

Product anytime (Jazbec et al., NeurIPS 2023, arXiv 2306.02652): after stage t of T the probability
of a class is proportional to Π_{s<=t} max(F_s, 0)^(s/T). A class that one stage has ruled out, with
a logit of at most 0, the mean of all classes, stays ruled out. Nothing is trained anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bdistil.errors import SpecError
from bdistil.runtime.confidence import Floats
from bdistil.runtime.manifest import Manifest
from bdistil.runtime.runner import Progress, Runner

RULED_OUT = np.float32(-1e4)  # below the largest logit: finite, and as a power of e it is 0


def log_factor(logits: Floats, stage: int, stages: int) -> Floats:
    """What a stage adds to the logarithm of the product, (N, L), of its logits (N, L)."""
    ruled_out = np.full_like(logits, -np.inf)
    logs: Floats = np.log(logits, out=ruled_out, where=logits > 0)
    return logs * np.float32(stage / stages)


def product_logits(logs: Floats, logits: Floats) -> Floats:
    """The product as finite logits (N, L); a stage's own for examples with no class left.

    Args:
        logs: of the product, the sum of each stage's factor, (N, L); minus infinity is ruled out.
        logits: of the stage, (N, L).
    """
    peak = logs.max(axis=1, keepdims=True)
    left = np.isfinite(peak)
    below: Floats = np.maximum(logs - np.where(left, peak, 0), RULED_OUT)
    return np.where(left, below, logits)


def share_turned_wrong(right: NDArray[np.bool_]) -> float:
    """Share of the examples that are right after some stage and wrong after a later one.

    Args:
        right: whether each stage's answer is right, (T, N).
    """
    before = np.logical_or.accumulate(right, axis=0)[:-1]
    return float((before & ~right[1:]).any(axis=0).mean()) if right.shape[1] else 0.0


class ProductState(NamedTuple):
    """How far the ensemble itself has come, and the logarithm of the product, (B, L)."""

    inner: Progress
    logs: Floats


class ProductRunner:
    """An ensemble whose answers are products over its stages.

    Args:
        runner: of the ensemble; every stage runs on the way to a later one.
        stages: T.
    """

    def __init__(self, runner: Runner, stages: int) -> None:
        self.runner = runner
        self.stages = stages
        if hasattr(runner, "load"):
            self.load: Callable[[int], None] = runner.load

    def begin(self, x: NDArray[np.float32]) -> Progress:
        """A batch of raw examples (B, ...) before the first stage."""
        inner = self.runner.begin(x)
        return Progress(0, inner.logits, ProductState(inner, np.zeros_like(inner.logits)))

    def advance(self, progress: Progress) -> Progress:
        """One stage further."""
        state: ProductState = progress.state
        inner = self.runner.advance(state.inner)
        logs = state.logs + log_factor(inner.logits, inner.stage, self.stages)
        logits = product_logits(logs, inner.logits)
        return Progress(inner.stage, logits, ProductState(inner, logs))

    def take(self, progress: Progress, rows: NDArray[np.intp]) -> Progress:
        """Some rows of a batch, to go on with these alone."""
        state: ProductState = progress.state
        kept = ProductState(self.runner.take(state.inner, rows), state.logs[rows])
        return Progress(progress.stage, progress.logits[rows], kept)

    def straight(self, x: NDArray[np.float32], stage: int) -> NDArray[np.float32]:
        """The product up to a stage, float32 (B, L)."""
        logits = np.zeros((len(x), 0), np.float32)
        logs: Any = np.float32(0)
        for number, logits in enumerate(self._answers(x, stage), start=1):
            logs = logs + log_factor(logits, number, self.stages)
        return product_logits(logs, logits)

    def _answers(self, x: NDArray[np.float32], stage: int) -> Iterator[NDArray[np.float32]]:
        """F_1, ..., F_stage; all at once where the runner has a graph for that."""
        every: Any = getattr(self.runner, "every_stage", None)
        if every is not None:
            yield from every(x).transpose(1, 0, 2)[:stage]
            return
        progress = self.runner.begin(x)
        while progress.stage < stage:
            progress = self.runner.advance(progress)
            yield progress.logits


def as_products(manifest: Manifest, runner: Runner) -> tuple[Manifest, Runner]:
    """Manifest and runner of an ensemble whose answers are products over its stages.

    Raises:
        SpecError: if it does not answer with one class.
    """
    if manifest.task != "classification":
        raise SpecError(
            f"product=True is for classes, and the task of {manifest.name!r} is {manifest.task}."
        )
    uncalibrated = replace(manifest, calibration=None)
    return uncalibrated, ProductRunner(runner, manifest.stages)
