"""The Pareto front over every prefix of many runs: accuracy against one or several costs.

The front is drawn on the validation split, which guided the searches already; test figures are
only reported. Seconds are measured on what will be served: the runtime that is at hand, straight
to a stage in its fastest way, for the batch that is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bdistil.core.cost import timed_in_turns
from bdistil.core.folding import FoldedPrefix
from bdistil.errors import SpecError
from bdistil.export.served import Call, served
from bdistil.export.stacking import Standardised
from bdistil.names import Runtime, Stacking
from bdistil.runs.run_directory import RunDirectory
from bdistil.searching.outcome import teacher_network
from bdistil.searching.result import SearchResult
from bdistil.store.remote import is_uri
from bdistil.store.scratch import ScratchFolder

COSTS = ("latency", "flops", "parameters", "memory")
SECONDS = 2.0  # of timing, at least


@dataclass(frozen=True)
class Point:
    """One prefix of one run.

    Attributes:
        run: the run directory, a path or URI.
        stage: number of students.
        validation: accuracy, micro F1 or R², on the validation split.
        test: the same on the test split.
        flops: of one example.
        flops_fraction: `flops` over the teacher's; None if its network is not known.
        parameters: values that the stage needs, folded.
        memory: bytes of the parameters and of one example's activations.
        latency: median seconds an example on this machine, one thread, in `runtime`.
        latency_ratio: `latency` over the teacher's, measured alike; None if it is no network.
        runtime: what computed it.
        way: how bodies ran.
        batch: examples at once.
    """

    run: str
    stage: int
    validation: float
    test: float
    flops: int
    flops_fraction: float | None
    parameters: int
    memory: int
    latency: float
    latency_ratio: float | None
    runtime: Runtime
    way: Stacking
    batch: int

    @property
    def label(self) -> str:
        """Short name for tables."""
        return f"{name_of(self.run)}:{self.stage}"

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)


def name_of(run: str) -> str:
    """The last part of a run's path or URI."""
    return Path(run if is_uri(run) else Path(run).resolve()).name


def points_of(
    runs: Sequence[str],
    runtime: Runtime,
    batch: int = 1,
    say: Callable[[str], None] = lambda _: None,
) -> list[Point]:
    """Every prefix of the runs' ensembles, timed on this machine in turns.

    Args:
        runs: run directories on the same data, paths or URIs.
        runtime: that will serve them.
        batch: examples that will be asked about at once.
        say: is told what takes time.

    Raises:
        CheckpointError: if a folder is no run or has no accepted round.
        SpecError: if the runs are not about the same data and split, or have no such batch.
        MissingDependencyError: if the runtime is not installed.
    """
    results = [SearchResult.of(run) for run in runs]
    _check_comparable([result.run for result in results])
    examples = results[0].dataset.validation.x.astype(np.float32)
    if not 1 <= batch <= len(examples):
        raise SpecError(
            f"--batch is {batch}; give 1 to {len(examples)}, the examples of the validation split."
        )
    with ScratchFolder("pareto") as folder:
        timed = [_Timed.of(each, runtime, folder / str(n), say) for n, each in enumerate(results)]
        say(f"timing {sum(len(each.calls) for each in timed)} things in turns by {runtime}")
        seconds = iter(_medians([call for each in timed for call in each.calls], examples[:batch]))
        of_calls = [[next(seconds) / batch for _ in each.calls] for each in timed]
    return [
        point
        for each, own in zip(timed, of_calls, strict=True)
        for point in each.points(own, runtime, batch)
    ]


@dataclass(frozen=True)
class _Timed:
    """A run whose stages are timed.

    Attributes:
        result: of the run.
        ways: how bodies run on the way to each stage.
        calls: straight to each stage, and to the teacher's answer if its network is known.
    """

    result: SearchResult
    ways: Sequence[Stacking]
    calls: Sequence[Call]

    @classmethod
    def of(
        cls, result: SearchResult, runtime: Runtime, folder: Path, say: Callable[[str], None]
    ) -> _Timed:
        """Makes what answers; graphs go into the folder."""
        count = len(result.rounds)
        told = f"{count} stage{'s' * (count != 1)}"
        say(f"{result.run.place}: making ready {told} for {runtime}")
        ensemble = result.build_ensemble()
        network = teacher_network(result.run, result.dataset)
        teacher = None if network is None else Standardised(network, ensemble.affine).eval()
        examples = result.dataset.validation.x.astype(np.float32)
        found = served(ensemble, teacher, runtime, folder, examples)
        last = [] if found.teacher is None else [found.teacher]
        return cls(result, found.ways, [*found.straight, *last])

    def points(self, seconds: Sequence[float], runtime: Runtime, batch: int) -> list[Point]:
        """One for each stage, from the seconds an example of each call."""
        result, rounds = self.result, self.result.rounds
        stages = result.evaluation.stages
        teacher = seconds[-1] if len(seconds) > len(stages) else None
        prefixes = [FoldedPrefix(result.students, s.stage).eval() for s in stages]
        return [
            Point(
                run=result.run.place,
                stage=figures.stage,
                validation=rounds[place].result.metric,
                test=figures.metric,
                flops=figures.flops,
                flops_fraction=figures.flops_fraction,
                parameters=figures.parameters,
                memory=memory(prefixes[place], result.dataset.input_shape),
                latency=seconds[place],
                latency_ratio=None if teacher is None else seconds[place] / teacher,
                runtime=runtime,
                way=self.ways[place],
                batch=batch,
            )
            for place, figures in enumerate(stages)
        ]


@torch.inference_mode()
def _medians(calls: Sequence[Call], x: NDArray[np.float32]) -> list[float]:
    """Median seconds of each call on a batch."""

    def bound(call: Call) -> Callable[[], object]:
        return lambda: call(x)

    rows = timed_in_turns([bound(call) for call in calls], repeats=30, seconds=SECONDS)
    medians: list[float] = np.median(rows, axis=0).tolist()
    return medians


def _check_comparable(runs: Sequence[RunDirectory]) -> None:
    for run in runs[1:]:
        if not _same_split(run, runs[0]):
            raise SpecError(
                f"{run.place} has other data or another seed than {runs[0].place}, so their "
                "validation splits differ; give runs with the same data and seed."
            )


def _same_split(run: RunDirectory, other: RunDirectory) -> bool:
    """Whether two runs cut the same rows alike: of a file that was moved its content tells."""
    specs = run.spec(), other.spec()
    (own, of_other), seeds = (spec.data for spec in specs), {spec.seed for spec in specs}
    aside = {"path", "views", "class_weight"}  # which move no row
    if len(seeds) > 1 or own.model_dump(exclude=aside) != of_other.model_dump(exclude=aside):
        return False
    if own.path == of_other.path:
        return True
    content = run.teacher.card().data_sha256
    return content is not None and content == other.teacher.card().data_sha256


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


def check_costs(costs: Sequence[str]) -> None:
    """Refuse what is no cost.

    Raises:
        SpecError: naming those that there are.
    """
    for cost in costs:
        if cost not in COSTS:
            raise SpecError(f"cost {cost!r} is unknown; choose {', '.join(COSTS)}.")


def front(points: Sequence[Point], costs: Sequence[str] = ("latency",)) -> list[Point]:
    """Points that no other point beats: at least as good in everything and better in something.

    Args:
        points: any.
        costs: which costs count, beside the validation metric.

    Returns:
        The front by rising first cost; of equal points the first.

    Raises:
        SpecError: if a cost is unknown.
    """
    check_costs(costs)
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


@dataclass(frozen=True)
class Limits:
    """What a point may cost and must reach; None sets no limit.

    Attributes:
        latency: seconds an example.
        flops: FLOPs an example, or such as ``"10%"`` of the teacher's.
        metric: least accuracy (micro F1, R²) on validation.

    Raises:
        SpecError: if one cannot be read.
    """

    latency: float | None = None
    flops: float | str | None = None
    metric: float | None = None

    def __post_init__(self) -> None:
        if self.metric is not None and not math.isfinite(self.metric):
            raise SpecError(f"--min-accuracy is {self.metric}; give a number such as 0.95.")
        if self.flops is not None:
            _most(self.flops)

    def within(self, points: Sequence[Point]) -> list[Point]:
        """The points within the limits.

        Raises:
            SpecError: if there is none, or a share is asked for of a teacher that is no network.
        """
        kept = [p for p in points if self.latency is None or p.latency <= self.latency]
        kept = [p for p in kept if self.flops is None or _affordable(p, self.flops)]
        kept = [p for p in kept if self.metric is None or p.validation >= self.metric]
        if not kept:
            nearest = max(points, key=lambda p: p.validation)
            raise SpecError(
                "no stage of these runs is within the limits; the best has "
                f"{nearest.validation:.4f} on validation at {nearest.latency * 1e3:.3g} ms and "
                f"{nearest.flops:,} FLOPs, the cheapest takes "
                f"{min(p.latency for p in points) * 1e3:.3g} ms, or "
                f"{min(p.flops for p in points):,} FLOPs."
            )
        return kept


def _most(limit: float | str) -> tuple[float, bool]:
    """A limit as a number, and whether it is in percent of the teacher's FLOPs."""
    text = str(limit).strip()
    try:
        most = float(text.removesuffix("%"))
    except ValueError:
        most = 0.0
    if not 0 < most < math.inf:
        raise SpecError(
            f"--max-flops {limit!r} must be a number of FLOPs above 0 or a share such as 10%."
        )
    return most, text.endswith("%")


def _affordable(point: Point, limit: float | str) -> bool:
    most, is_share = _most(limit)
    if not is_share:
        return point.flops <= most
    if point.flops_fraction is None:
        raise SpecError(
            f"--max-flops {limit}: the teacher of {point.run} is known by its outputs alone, so "
            "its FLOPs are not; give a number of FLOPs."
        )
    return point.flops_fraction <= most / 100
