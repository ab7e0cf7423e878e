"""What stages take here, by the clock, and what early exits therefore cost.

FLOPs say nothing of calls: where stages are small, going through them one after another and finding
out who leaves takes longer than all of them in one graph, and leaving early saves nothing.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bdistil.runtime.exit_graph import WEIGHTS_OF, ExitGraph
from bdistil.runtime.exits import ExitPolicy, Floats, OperatingPoint
from bdistil.runtime.partial_batch import stages_of_all, stages_of_one
from bdistil.runtime.runner import Progress, Runner

ROUNDS = 15  # measured, in turns
LEAST_ROUNDS = 3
ENOUGH = 0.5  # seconds after which no further round is begun
ROUNDING = 1e-9  # the logarithm of 64 to the base 4 is a hair below 3
LARGEST = 1024  # examples, beyond which one more takes what the others do


@dataclass(frozen=True)
class StageTimes:
    """Median seconds of a batch.

    Attributes:
        steps: up to each stage, one after another, with finding out who leaves; of one example.
        straight: to the last stage at once; of the batch.
        batch: examples of it.
        together: as `steps`, of the batch with nobody leaving; empty for a batch of one.
        inside: as `steps`, within one graph that finds out itself; empty where there is none.
    """

    steps: tuple[float, ...]
    straight: float
    batch: int = 1
    together: tuple[float, ...] = ()
    inside: tuple[float, ...] = ()

    def cost(self, point: OperatingPoint) -> float:
        """Mean seconds of an example under a point; one that never leaves goes straight.

        Each stage takes a fixed time and one for each example that is still in, as measured for one
        and for the batch; how many are in is binomial.
        """
        if point.threshold is None:
            return self.straight / self.batch
        if self.batch == 1:
            inside = self.inside and point.score in WEIGHTS_OF
            return float(np.dot(point.leaving, self.inside if inside else self.steps))
        one, all_of_them = (np.diff([0.0, *steps]) for steps in (self.steps, self.together))
        each = (all_of_them - one) / (self.batch - 1)
        still_in = 1 - np.cumsum([0.0, *point.leaving[:-1]])
        anybody = 1 - (1 - still_in) ** self.batch
        total = np.dot(anybody, one - each) + self.batch * np.dot(still_in, each)
        return float(total / self.batch)

    def timed(self, points: Sequence[OperatingPoint]) -> list[OperatingPoint]:
        """The points with seconds for costs; those that do not say where examples leave are out."""
        known = [p for p in points if p.threshold is None or len(p.leaving) == len(self.steps)]
        return [replace(point, cost=self.cost(point)) for point in known]


def timed_batch(examples: int) -> int:
    """The batch whose times stand for so many examples: a power of 4, so that few are measured."""
    return int(4 ** math.floor(math.log(min(max(examples, 1), LARGEST), 4) + ROUNDING))


def measure_times(
    runner: Runner,
    batches: Sequence[NDArray[np.float32]],
    stages: int,
    seen: Callable[[Progress], Floats],
    score: str,
    graph: ExitGraph | None = None,
) -> StageTimes:
    """Go through the stages as early exit does, and straight to the last, in turns.

    Args:
        runner: of the ensemble.
        batches: one example, and the batch if it has more; raw, float32 (B, ...).
        stages: of the ensemble.
        seen: what scores look at of a stage's answers.
        score: by which examples leave.
        graph: within which one example leaves, where there is one.
    """
    never, largest = ExitPolicy(score, np.inf), batches[-1]
    rows: list[list[float]] = []
    began = time.perf_counter()
    for turn in range(ROUNDS + 1):
        if turn > LEAST_ROUNDS and time.perf_counter() - began > ENOUGH:
            break
        reached = []
        for x in batches:
            at = time.perf_counter()
            walk = stages_of_one if len(x) == 1 else stages_of_all
            reached += [time.perf_counter() - at for _ in walk(runner, x, stages, seen, never)]
        at = time.perf_counter()
        runner.straight(largest, stages)
        rows.append([*reached, time.perf_counter() - at])
        if graph is not None:
            rows[-1] = [*_inside(graph, batches[0], stages), *rows[-1]]
    medians = [statistics.median(column) for column in zip(*rows[1:], strict=True)]  # the first
    inside = () if graph is None else tuple(medians[:stages])  # time is slower
    *walked, straight = medians[len(inside) :]
    return StageTimes(
        tuple(walked[:stages]), straight, len(largest), tuple(walked[stages:]), inside
    )


def _inside(graph: ExitGraph, example: NDArray[np.float32], stages: int) -> list[float]:
    """Seconds until an example left at each stage."""
    taken = []
    for stage in range(1, stages + 1):
        at = time.perf_counter()
        graph.leave_at(example, stage)
        taken.append(time.perf_counter() - at)
    return taken


def microseconds(seconds: float) -> str:
    """With three significant digits, as 1,230 or 4.56."""
    rounded = float(f"{1e6 * seconds:.3g}")
    digits = 0 if rounded == 0 else max(0, 2 - math.floor(math.log10(abs(rounded))))
    return f"{rounded:,.{digits}f}"


def told_ratio(ratio: float) -> str:
    """Two decimals, or two digits where there would be fewer."""
    return f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.2g}"
