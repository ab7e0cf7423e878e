"""The Pareto front over every prefix of many runs: accuracy against one or several costs.

The front is drawn on the validation split, which guided the searches already; test figures are
only reported.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bdistil.core.cost import latencies
from bdistil.core.folding import FoldedPrefix
from bdistil.data.dataset import Dataset
from bdistil.errors import SpecError
from bdistil.export.evaluation import StageFigures
from bdistil.runs.run_directory import RunDirectory
from bdistil.searching.result import SearchResult

COSTS = ("flops", "latency", "parameters", "memory")


@dataclass(frozen=True)
class Point:
    """One prefix of one run.

    Attributes:
        run: the run directory.
        stage: number of students.
        validation: accuracy, micro F1 or R², on the validation split.
        test: the same on the test split.
        flops: of one example.
        flops_fraction: `flops` over the teacher's; None if its network is not known.
        parameters: values that the stage needs, folded.
        memory: bytes of the parameters and of one example's activations.
        latency: median seconds of one example, one thread, on this machine.
    """

    run: Path
    stage: int
    validation: float
    test: float
    flops: int
    flops_fraction: float | None
    parameters: int
    memory: int
    latency: float

    @property
    def label(self) -> str:
        """Short name for tables."""
        return f"{self.run.resolve().name}:{self.stage}"

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self) | {"run": str(self.run)}


def points_of(runs: Sequence[Path]) -> list[Point]:
    """Every prefix of the runs' ensembles, timed on this machine in turns.

    Raises:
        CheckpointError: if a folder is no run or has no accepted round.
        SpecError: if the runs are not about the same data and split.
    """
    results = [SearchResult.of(run) for run in runs]
    _check_comparable([result.run for result in results])
    prefixes, figures = [], []
    for result in results:
        ensemble = result.students
        validation = [record.result.metric for record in result.rounds]
        figures.append((result.run, result.evaluation, validation, result.dataset))
        prefixes.append([FoldedPrefix(ensemble, k).eval() for k in range(1, len(ensemble) + 1)])
    example = torch.zeros(1, *figures[0][3].input_shape)
    seconds = iter(latencies([prefix for group in prefixes for prefix in group], example))
    return [
        _point(
            run, evaluated.stages[stage - 1], validation[stage - 1], prefix, next(seconds), dataset
        )
        for (run, evaluated, validation, dataset), group in zip(figures, prefixes, strict=True)
        for stage, prefix in enumerate(group, start=1)
    ]


def _check_comparable(runs: Sequence[RunDirectory]) -> None:
    first = runs[0].spec()
    for run in runs[1:]:
        spec = run.spec()
        if spec.data != first.data or spec.seed != first.seed:
            raise SpecError(
                f"{run.path} has other data or another seed than {runs[0].path}, so their "
                "validation splits differ; give runs with the same data and seed."
            )


def _point(
    run: RunDirectory,
    figures: StageFigures,
    validation: float,
    prefix: FoldedPrefix,
    seconds: float,
    dataset: Dataset,
) -> Point:
    return Point(
        run=run.path,
        stage=figures.stage,
        validation=validation,
        test=figures.metric,
        flops=figures.flops,
        flops_fraction=figures.flops_fraction,
        parameters=figures.parameters,
        memory=memory(prefix, dataset.input_shape),
        latency=seconds,
    )


@torch.no_grad()
def memory(module: torch.nn.Module, input_shape: Sequence[int]) -> int:
    """Bytes of the parameters and of every activation of one example, none of them freed."""
    kept = [0]

    def count(_: torch.nn.Module, __: Any, output: Any) -> None:
        outputs = output if isinstance(output, tuple) else (output,)
        kept.extend(t.nbytes for t in outputs if isinstance(t, torch.Tensor))

    leaves = [each for each in module.modules() if not list(each.children())]
    hooks = [leaf.register_forward_hook(count) for leaf in leaves]
    try:
        module(torch.zeros(1, *input_shape))
    finally:
        for hook in hooks:
            hook.remove()
    return sum(p.nbytes for p in module.parameters()) + sum(kept)


def front(points: Sequence[Point], costs: Sequence[str] = ("flops",)) -> list[Point]:
    """Points that no other point beats: at least as good in everything and better in something.

    Args:
        points: any.
        costs: which costs count, beside the validation metric.

    Returns:
        The front by rising first cost; of equal points the first.

    Raises:
        SpecError: if a cost is unknown.
    """
    for cost in costs:
        if cost not in COSTS:
            raise SpecError(f"cost {cost!r} is unknown; choose {', '.join(COSTS)}.")
    values = np.array([[getattr(p, c) for c in costs] + [-p.validation] for p in points])
    kept = [p for i, p in enumerate(points) if not _beaten(values, i)]
    return sorted(kept, key=lambda p: (getattr(p, costs[0]), p.validation))


def _beaten(values: np.ndarray[Any, Any], index: int) -> bool:
    """Whether a row is dominated, or equal to an earlier one; less is better everywhere."""
    own = values[index]
    no_worse = (values <= own).all(axis=1)
    better = no_worse & (values < own).any(axis=1)
    twin = no_worse[:index] & (values[:index] == own).all(axis=1)
    return bool(better.any() or twin.any())


def within(
    points: Sequence[Point],
    *,
    max_latency: float | None = None,
    max_flops: float | str | None = None,
    min_metric: float | None = None,
) -> list[Point]:
    """Points within limits.

    Args:
        points: any.
        max_latency: seconds an example.
        max_flops: FLOPs an example, or such as ``"10%"`` of the teacher's.
        min_metric: least accuracy (micro F1, R²) on validation.

    Raises:
        SpecError: if a limit cannot be read, or none of the points is within them.
    """
    if min_metric is not None and not math.isfinite(min_metric):
        raise SpecError(f"--min-accuracy is {min_metric}; give a number such as 0.95.")
    kept = [p for p in points if max_latency is None or p.latency <= max_latency]
    kept = [p for p in kept if max_flops is None or _affordable(p, max_flops)]
    kept = [p for p in kept if min_metric is None or p.validation >= min_metric]
    if not kept:
        nearest = max(points, key=lambda p: p.validation)
        raise SpecError(
            f"no stage of these runs is within the limits; the best has {nearest.validation:.4f} "
            f"on validation at {nearest.flops:,} FLOPs and {nearest.latency * 1e3:.3g} ms, the "
            f"cheapest {min(p.flops for p in points):,} FLOPs."
        )
    return kept


def _affordable(point: Point, limit: float | str) -> bool:
    text = str(limit).strip()
    try:
        most = float(text.removesuffix("%"))
    except ValueError:
        most = 0.0
    if not 0 < most < math.inf:
        raise SpecError(
            f"--max-flops {limit!r} is neither a number of FLOPs nor a share such as 10%."
        )
    if not text.endswith("%"):
        return point.flops <= most
    if point.flops_fraction is None:
        raise SpecError(
            f"--max-flops {text}: the teacher of {point.run} is known by its outputs alone, so "
            "its FLOPs are not; give a number of FLOPs."
        )
    return point.flops_fraction <= most / 100
