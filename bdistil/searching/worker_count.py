"""Whether a search is worth workers, how many tries keep them busy, how fast they compute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from bdistil.core.growth import folded_flops
from bdistil.core.recipes import recipe
from bdistil.core.student import StudentConfig
from bdistil.data.dataset import Dataset
from bdistil.export.checkpoint import build_student
from bdistil.spec import Spec, WorkerSpec
from bdistil.spec.search import TRIES
from bdistil.spec.section import MOST_COUNT

WORKERS = 2
WORTH_WORKERS = 60.0
"""Seconds of training from which on workers pay: Ray takes about ten to start, on each run."""
STEP_SECONDS = 5e-4  # of a training step, whatever it computes
FLOPS_A_SECOND = 5e9  # of one core, in small layers
TRAINING = 3  # times the FLOPs of an answer
STACKED = 4
"""Candidates that train together in about the time of one, if their students are small: so many
for each worker (benchmarks/cohort.py).
"""


def count_workers(spec: Spec, dataset: Dataset, stacked: bool = False) -> int:
    """`workers.count` where the spec leaves it open.

    Args:
        spec: with rounds and tries decided.
        dataset: its data.
        stacked: whether candidates train together, however many.
    """
    if needs_ray(spec) or seconds_of_training(spec, dataset, stacked) > WORTH_WORKERS:
        return WORKERS
    return 0


def needs_ray(spec: Spec) -> str | None:
    """The field that wants workers, however little there is to train; None if none does."""
    wants = {
        "tracking.callbacks": bool(spec.tracking.callbacks),
        "workers.gpus": spec.workers.gpus > 0,
        "teacher.workers": spec.teacher.workers > 1,
    }
    return next((field for field, wanted in wants.items() if wanted), None)


def workers_on_cluster(workers: WorkerSpec) -> WorkerSpec:
    """The same with a number, where a cluster is to be used and the number is left open."""
    return workers if workers.count is not None else workers.model_copy(update={"count": WORKERS})


def waves_of(workers: int) -> int:
    """Cohorts of a class for each worker: one of two workers, and one more for each doubling.

    At the end of a class all wait for the slowest, and of many the slowest is slower. With trial
    times that spread by 25% these are about the fewest that keep 85% of the workers' time in use
    (benchmarks/utilisation.py).
    """
    return workers.bit_length() if workers > 2 else 1


def tries_of(spec: Spec, stacked: bool = False) -> int:
    """Trials of a class: as asked for, else as many as keep the workers busy.

    One process tries as much as two workers do, so that small searches find as much on both. What a
    round may try at most is shared out among the classes first, so that each has its turn.

    Args:
        spec: of the search.
        stacked: whether candidates train together, however many; then there are more.
    """
    search, workers = spec.search, max(WORKERS, spec.workers.count or 0)
    together = STACKED if stacked else search.together
    most = (search.trials_per_round or MOST_COUNT) // len(spec.space.rungs)
    busy = min(most, waves_of(workers) * workers * together)
    return search.tries_per_class or max(TRIES, busy)


def seconds_of_training(spec: Spec, dataset: Dataset, stacked: bool = False) -> float:
    """About how long the candidates of all rounds train on one core, larger classes left out.

    A stage's students cost what the stages before it have not, growing from the first class on.
    """
    rows, search, space = len(dataset.train), spec.search, spec.space
    epochs = max(space.values("epochs") or [recipe(name).epochs for name in spec.recipes])
    steps = epochs * max(1, -(-rows // batch_size(spec, rows)))
    growing = (space.growth or 1.0) ** (search.most_rounds - 1)
    stages = growing if space.growth else search.most_rounds  # all, in first ones
    calls = steps * STEP_SECONDS * search.most_rounds / (STACKED if stacked else 1)
    products = TRAINING * stages * first_flops(spec, dataset) * rows * epochs / FLOPS_A_SECOND
    return float(search.tries * (calls + products))


def seconds_of_products(spec: Spec, dataset: Dataset) -> float:
    """About how long the products of one training step of a first student take one core."""
    batch = batch_size(spec, len(dataset.train))
    return TRAINING * first_flops(spec, dataset) * batch / FLOPS_A_SECOND


def batch_size(spec: Spec, rows: int) -> int:
    """The smallest that a candidate may have."""
    asked: tuple[int, ...] = spec.space.values("batch_size")
    return min(asked, default=min(128, max(16, rows // 4)))


def first_flops(spec: Spec, dataset: Dataset) -> int:
    """FLOPs of one example through the dearest first student."""
    return max(_cost(kind, width, dataset) for kind, width in spec.space.first_students)


def told_workers(spec: Spec, dataset: Dataset) -> str:
    """What was decided, in a sentence."""
    if field := needs_ray(spec):
        return f"workers: {spec.workers.count} on Ray, which {field} needs (workers.count)"
    seconds = seconds_of_training(spec, dataset, spec.search.together > 1)
    about = f"about {seconds:.0f} s" if seconds < 120 else f"about {seconds / 60:.0f} min"
    count = f"{spec.workers.count} on Ray" if spec.workers.count else "none"
    return f"workers: {count}, as candidates train for {about} in all (workers.count)"


def told_precision(spec: Spec) -> str:
    """That bf16 is slow here, if it is; of processors other than x86 nothing is known."""
    precisions = {"search": spec.search.precision, "teacher": spec.teacher.precision}
    fields = " and ".join(f"{where}.precision" for where, p in precisions.items() if p != "fp32")
    if not fields or spec.workers.gpus:
        return ""
    tell: Callable[[], dict[str, Any]] | None = getattr(torch.cpu, "get_capabilities", None)
    known = tell() if tell else {}
    units = [known[unit] for unit in ("avx512_bf16", "amx_bf16") if unit in known]
    if any(units) or not units:
        return ""
    return (
        f"precision: this processor has no instructions for bf16, with which training takes "
        f"several times as long as with fp32 ({fields})"
    )


def _cost(kind: str, width: int, dataset: Dataset) -> int:
    """FLOPs of one example through a student of that width."""
    with torch.device("meta"):
        config = StudentConfig(kind, width, "none", skip=False)
        student = build_student(config, dataset.input_shape, dataset.outputs, ())
    return folded_flops(student, dataset.input_shape, ())
