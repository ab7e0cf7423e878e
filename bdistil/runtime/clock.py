"""What stages take here, by the clock, and what early exits therefore cost.

FLOPs say nothing of calls: where stages are small, going through them one after another takes
longer than all of them in one graph, and leaving early saves nothing.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bdistil.runtime.exits import OperatingPoint
from bdistil.runtime.runner import Runner

ROUNDS = 15  # measured, in turns
LEAST_ROUNDS = 3
ENOUGH = 0.5  # seconds after which no further round is begun


@dataclass(frozen=True)
class StageTimes:
    """Median seconds of a batch.

    Attributes:
        steps: up to each stage, one after another.
        straight: to the last stage at once.
    """

    steps: tuple[float, ...]
    straight: float

    def cost(self, point: OperatingPoint) -> float:
        """Mean seconds of an example under a point; one that never leaves goes straight."""
        if point.threshold is None:
            return self.straight
        return float(np.dot(point.leaving, self.steps))

    def timed(self, points: Sequence[OperatingPoint]) -> list[OperatingPoint]:
        """The points with seconds for costs; those that do not say where examples leave are out."""
        known = [p for p in points if p.threshold is None or len(p.leaving) == len(self.steps)]
        return [replace(point, cost=self.cost(point)) for point in known]


def measure_times(runner: Runner, x: NDArray[np.float32], stages: int) -> StageTimes:
    """Go through the stages and straight to the last, in turns, on some examples (B, ...)."""
    steps: list[list[float]] = []
    straight: list[float] = []
    began = time.perf_counter()
    for turn in range(ROUNDS + 1):
        if turn > LEAST_ROUNDS and time.perf_counter() - began > ENOUGH:
            break
        at = time.perf_counter()
        progress, reached = runner.begin(x), []
        for _ in range(stages):
            progress = runner.advance(progress)
            reached.append(time.perf_counter() - at)
        at = time.perf_counter()
        runner.straight(x, stages)
        straight.append(time.perf_counter() - at)
        steps.append(reached)
    kept = steps[1:], straight[1:]  # the first time is slower
    medians = tuple(statistics.median(column) for column in zip(*kept[0], strict=True))
    return StageTimes(medians, statistics.median(kept[1]))


def microseconds(seconds: float) -> str:
    """With three significant digits, as 1,230 or 4.56."""
    rounded = float(f"{1e6 * seconds:.3g}")
    digits = 0 if rounded == 0 else max(0, 2 - math.floor(math.log10(abs(rounded))))
    return f"{rounded:,.{digits}f}"


def told_ratio(ratio: float) -> str:
    """Two decimals, or two digits where there would be fewer."""
    return f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.2g}"
