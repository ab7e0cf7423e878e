"""What a run's stages cost on this machine: teacher, prefixes, streamed stages, peers, in turns.

All sides of a comparison are timed in one run, in turns and on one thread, from raw features to
logits, by torch and, where it is installed, by onnxruntime.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from bdistil.core.connections import Hidden
from bdistil.core.cost import timed_in_turns
from bdistil.errors import MissingDependencyError, SpecError
from bdistil.export.ensemble import Ensemble
from bdistil.export.evaluation import Evaluation
from bdistil.export.onnx_export import export_module, export_onnx
from bdistil.export.stacking import Standardised
from bdistil.names import Stacking
from bdistil.report.bench_peers import Peer, scikit_peers, single_student, why_no_peers
from bdistil.report.single_student import single_student_peer
from bdistil.runtime.cascade import TEACHER_FILE
from bdistil.runtime.onnx_runner import OnnxRunner
from bdistil.searching.outcome import teacher_network
from bdistil.searching.result import SearchResult
from bdistil.store.scratch import ScratchFolder

Runtime = Literal["torch", "onnxruntime"]
Way = Literal["teacher", "straight", "streamed"]


@dataclass(frozen=True)
class Timing:
    """One thing timed.

    Attributes:
        runtime: what computed it.
        way: ``straight`` to the stage with folded heads, or ``streamed``: with the answers of all
            stages before it on the way.
        stage: number of students; 0 for the teacher.
        batch: examples at once.
        median: seconds a batch; `low` and `high` are the first and the ninth decile.
        ratio: `median` over the teacher's in the same runtime and batch; None without a teacher.
        flops_ratio: FLOPs over the teacher's; None without a teacher.
        metric: accuracy (or R²) on the test split.
        stacking: how bodies run on the straight way; None elsewhere.
    """

    runtime: Runtime
    way: Way
    stage: int
    batch: int
    median: float
    low: float
    high: float
    ratio: float | None
    flops_ratio: float | None
    metric: float
    stacking: Stacking | None = None


@dataclass(frozen=True)
class Overhead:
    """What streaming the stages costs beside the students run bare, by torch.

    Attributes:
        batch: examples at once.
        ratio: seconds of all stages streamed over the sum of the bare students'.
        dispatch: seconds that a stage adds to its student.
    """

    batch: int
    ratio: float
    dispatch: float


@dataclass(frozen=True)
class PeerTiming:
    """A model that is no part of the run, timed in the same turns; fields as of a timing."""

    name: str
    batch: int
    median: float
    low: float
    high: float
    metric: float
    runtime: str


@dataclass(frozen=True)
class Bench:
    """Everything that was timed.

    Attributes:
        timings: of teacher and stages.
        overheads: for each batch size.
        peers: of other models.
        notes: sentences about what is not among them, and why: peers, or the teacher.
    """

    timings: tuple[Timing, ...]
    overheads: tuple[Overhead, ...]
    peers: tuple[PeerTiming, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)


@dataclass(frozen=True)
class Subject:
    """Something to time: called with raw features, float32 (B, ...)."""

    runtime: Runtime
    way: Way
    stage: int
    call: Callable[[NDArray[np.float32]], object]
    stacking: Stacking | None = None


def bench(
    result: SearchResult,
    batches: Sequence[int] | None = None,
    seconds: float = 5.0,
    say: Callable[[str], None] = lambda _: None,
    *,
    with_single_student: bool = False,
) -> Bench:
    """Time a run's teacher and stages on test examples.

    Args:
        result: with at least one accepted round.
        batches: examples at once; None takes one, and 64 or as many as the test split has.
        seconds: spent on each batch size, at least.
        say: is told what takes time.
        with_single_student: train one that is as dear as the last stage, and time it too.

    Raises:
        CheckpointError: if no round is accepted yet or a file is damaged.
        SpecError: if a batch is larger than the test split.
    """
    say("loading data, students and figures")
    dataset, ensemble, figures = result.dataset, result.build_ensemble(), result.evaluation
    examples = dataset.test.x
    if batches is None:
        batches = [1, min(64, len(examples))]
    batches = sorted(set(batches))
    if not 1 <= min(batches) <= max(batches) <= len(examples):
        raise SpecError(
            f"--batch must lie between 1 and {len(examples)}, the examples of the test split, not "
            f"{', '.join(map(str, batches))}."
        )
    network = teacher_network(result.run, dataset)
    raw = None if network is None else Standardised(network, ensemble.affine).eval()
    reason = why_no_peers(dataset)
    peers = [] if reason else scikit_peers(dataset, say)
    notes = (*untimed_teacher(raw), *([f"{reason}."] if reason else []), single_student(result))
    with ScratchFolder("bench") as folder:
        if with_single_student:
            peer, note = single_student_peer(result, folder / "peer", say)
            peers, notes = [*peers, peer], (*notes[:-1], note)
        subjects = torch_subjects(ensemble, raw)
        say("writing ONNX graphs")
        subjects += onnx_subjects(ensemble, raw, folder, examples[:64].astype(np.float32))
        timed, others = [], []
        for batch in batches:
            say(f"batch {batch}: timing {len(subjects) + len(peers)} things in turns")
            found = timings(subjects, peers, examples[:batch].astype(np.float32), figures, seconds)
            timed += found[0]
            others += found[1]
    say("timing what stages add to their students")
    overheads = [overhead(ensemble, examples[:batch], seconds / 2) for batch in batches]
    return Bench(tuple(timed), tuple(overheads), tuple(others), notes)


def untimed_teacher(raw_teacher: Standardised | None) -> tuple[str, ...]:
    """A sentence about a teacher that is not timed; none about one that is."""
    if raw_teacher is not None:
        return ()
    return ("Teacher: no network of torch, so not timed here; `bdistil status` has what is known.",)


def torch_subjects(ensemble: Ensemble, raw_teacher: Standardised | None) -> list[Subject]:
    """Teacher, prefixes and streamed stages by torch."""

    def straight(stage: int) -> Callable[[NDArray[np.float32]], object]:
        return lambda x: ensemble(torch.as_tensor(x), stage)

    def streamed(stage: int) -> Callable[[NDArray[np.float32]], object]:
        return lambda x: list(itertools.islice(ensemble.stages(torch.as_tensor(x)), stage))

    stages = range(1, len(ensemble) + 1)
    ways = dict(zip(stages, ensemble.config.stacking, strict=False))
    found = [
        Subject("torch", "straight", stage, straight(stage), ways.get(stage, "none"))
        for stage in stages
    ]
    found += [Subject("torch", "streamed", stage, streamed(stage)) for stage in stages]
    if raw_teacher is not None:
        found.append(Subject("torch", "teacher", 0, lambda x: raw_teacher(torch.as_tensor(x))))
    return found


def onnx_subjects(
    ensemble: Ensemble,
    raw_teacher: Standardised | None,
    folder: Path,
    examples: NDArray[np.float32],
) -> list[Subject]:
    """The same by onnxruntime; nothing where it cannot be exported or run."""
    try:
        way = export_onnx(ensemble, folder, examples).way
    except MissingDependencyError:
        return []
    runner = OnnxRunner(folder, ensemble.outputs)

    def straight(stage: int) -> Callable[[NDArray[np.float32]], object]:
        return lambda x: runner.straight(x, stage)

    def streamed(stage: int) -> Callable[[NDArray[np.float32]], object]:
        def call(x: NDArray[np.float32]) -> object:
            progress = runner.begin(x)
            for _ in range(stage):
                progress = runner.advance(progress)
            return progress

        return call

    stages = range(1, len(ensemble) + 1)
    found = [Subject("onnxruntime", "straight", stage, straight(stage), way) for stage in stages]
    found += [Subject("onnxruntime", "streamed", stage, streamed(stage)) for stage in stages]
    if raw_teacher is not None:
        own = folder / "teacher"
        export_module(raw_teacher, examples, own / TEACHER_FILE)
        call = OnnxRunner(own, ensemble.outputs).graph(TEACHER_FILE)
        found.append(Subject("onnxruntime", "teacher", 0, call))
    return found


@torch.inference_mode()
def timings(
    subjects: Sequence[Subject],
    peers: Sequence[Peer],
    x: NDArray[np.float32],
    figures: Evaluation,
    seconds: float,
) -> tuple[list[Timing], list[PeerTiming]]:
    """Every subject and peer on one batch, in turns."""

    def bound(subject: Subject | Peer) -> Callable[[], object]:
        return lambda: subject.call(x)

    calls = [*map(bound, subjects), *map(bound, peers)]
    rows = timed_in_turns(calls, repeats=20, warmup=5, seconds=seconds)
    low, median, high = np.quantile(np.array(rows), [0.1, 0.5, 0.9], axis=0)
    teachers = {s.runtime: median[i] for i, s in enumerate(subjects) if s.way == "teacher"}
    of_peers = [
        PeerTiming(
            p.name, len(x), float(median[i]), float(low[i]), float(high[i]), p.metric, p.runtime
        )
        for i, p in enumerate(peers, start=len(subjects))
    ]
    of_subjects = [
        Timing(
            runtime=subject.runtime,
            way=subject.way,
            stage=subject.stage,
            batch=len(x),
            median=float(median[i]),
            low=float(low[i]),
            high=float(high[i]),
            ratio=float(median[i] / teachers[subject.runtime]) if teachers else None,
            flops_ratio=flops_ratio(subject, figures),
            metric=metric(subject, figures),
            stacking=subject.stacking,
        )
        for i, subject in enumerate(subjects)
    ]
    return of_subjects, of_peers


def flops_ratio(subject: Subject, figures: Evaluation) -> float | None:
    """FLOPs of a subject over the teacher's."""
    if subject.way == "teacher" or figures.teacher.flops is None:
        return None if figures.teacher.flops is None else 1.0
    stage = figures.stages[subject.stage - 1]
    flops = stage.flops if subject.way == "straight" else stage.streamed_flops
    return flops / figures.teacher.flops


def metric(subject: Subject, figures: Evaluation) -> float:
    """Accuracy (or R²) of a subject."""
    if subject.way == "teacher":
        return figures.teacher.metric
    return figures.stages[subject.stage - 1].metric


@torch.inference_mode()
def overhead(ensemble: Ensemble, examples: NDArray[Any], seconds: float) -> Overhead:
    """All stages streamed against the students called one by one on what they need."""
    x = torch.as_tensor(examples.astype(np.float32))
    scaled = ensemble.standardise(x)
    earlier: list[Hidden] = []
    bare: list[Callable[[], object]] = []
    for student in ensemble:
        known = tuple(earlier)
        bare.append(lambda student=student, known=known: student(scaled, known))  # type: ignore[misc]
        earlier.append(student(scaled, known)[1])
    rows = timed_in_turns(
        [lambda: list(ensemble.stages(x)), *bare], repeats=20, warmup=5, seconds=seconds
    )
    streamed, *students = np.median(np.array(rows), axis=0)
    total = float(np.sum(students))
    dispatch = (float(streamed) - total) / len(ensemble)
    return Overhead(len(x), float(streamed) / total, dispatch)
