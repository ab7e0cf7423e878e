"""What ``bdistil ablate`` and ``bdistil compare`` share: options, progress, the folder's plan."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bdistil.cli.display import clock, console, output
from bdistil.errors import ClusterError, SpecError
from bdistil.interrupt import STATUS, remembered
from bdistil.spec import WorkerSpec
from bdistil.store.durable import check_local
from bdistil.store.folder_lock import locked_folder

if TYPE_CHECKING:
    from bdistil.experiments.design import Run
    from bdistil.experiments.figures import Figures
    from bdistil.experiments.plan import Plan

SpecsAndOverrides = Annotated[
    list[str],
    typer.Argument(metavar="SPEC... KEY=VALUE", help="Search spaces, then overrides for all."),
]
Seeds = Annotated[int, typer.Option(min=1, help="0, 1, ... so many.")]
FirstSeed = Annotated[int, typer.Option(min=0)]
Out = Annotated[Path, typer.Option(help="Folder of the experiment.")]
Title = Annotated[str, typer.Option(help="The question, for the README.")]
Cpus = Annotated[float, typer.Option(help="CPUs that each run takes of the cluster.")]
Gpus = Annotated[
    float,
    typer.Option(help="GPUs that each search and teacher trains on; rivals train on CPUs."),
]
Autoscale = Annotated[
    bool | None,
    typer.Option(
        "--autoscale/--no-autoscale",
        help="Whether the cluster adds nodes when runs wait. Default: ask its autoscaler.",
        show_default=False,
    ),
]
OPTIONS = {
    "workers.cpus": "--cpus",
    "workers.gpus": "--gpus",
    "workers.autoscale=true": "--autoscale",
}
"""What is a field of a search and here an option."""


def specs_and_rest(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Search spaces and overrides apart."""
    specs = [each for each in arguments if "=" not in each]
    return specs, [each for each in arguments if "=" in each]


def takes(cpus: float, gpus: float, autoscale: bool | None) -> WorkerSpec:
    """What each run takes of the cluster.

    Raises:
        SpecError: if that is nothing, or no number.
    """
    if not (0 < cpus < math.inf and 0 <= gpus < math.inf):
        raise SpecError(
            f"--cpus must be above 0 (it is {cpus:g}), and --gpus 0 or more (it is {gpus:g})."
        )
    return WorkerSpec(cpus=cpus, gpus=gpus, autoscale=autoscale)


def carry_out(
    plan: Plan,
    runs: Sequence[Run],
    out: Path,
    each_takes: WorkerSpec,
    address: str | None,
    verbose: bool,
) -> None:
    """Run what is missing of an experiment and write it up.

    Args:
        plan: the experiment.
        runs: its searches.
        out: the experiment's folder.
        each_takes: :func:`takes`.
        address: of a Ray cluster.
        verbose: let Ray speak.

    Raises:
        SpecError: if the folder holds another experiment, or other things.
        CheckpointError: if another process is at work on it, or it is a URI.
        DataError: if data have changed since runs of them ended there.
        ClusterError: if the cluster has no room for a run.
    """
    from bdistil.experiments.data_files import check_unchanged
    from bdistil.experiments.execute import execute
    from bdistil.experiments.write_up import write_comparison, write_up

    check_local(out)
    plan.check(out)
    workers = each_takes.model_copy(update={"count": len(runs)})
    with locked_folder(out, "experiment"):
        plan.keep(out)
        check_unchanged(runs, out)
        with stopping_gently(), in_options():
            lines = Lines()
            teachers = len({run.teacher_folder for run in runs})
            console.print(f"Runs: {len(runs)}; teachers, which come first: {teachers}.")
            found = execute(
                runs, out, workers, address, verbose, lines.done, lines.taught, lines.under_way
            )
        write = write_comparison if plan.kind == "comparison" else write_up
        answer = write(found, out, plan.question)
    output.print(answer)
    console.print(f"Tables and plots: {out / 'README.md'}")
    if left_out := other_seeds(out, runs):
        console.print(
            f"Not in them: what the folder has of other seeds ({left_out}); --seeds and "
            f"--first-seed take them in."
        )


def other_seeds(folder: Path, runs: Sequence[Run]) -> str:
    """Seeds of searches that have ended in an experiment's folder, and are not among the runs."""
    asked = {run.seed for run in runs}
    ended = {each.parent.name.rpartition("-")[2] for each in folder.glob("runs/*/figures.json")}
    seeds = {int(each) for each in ended if each.isdecimal()}
    return ", ".join(map(str, sorted(seeds - asked)))


@contextmanager
def in_options() -> Iterator[None]:
    """Name as options what errors of a cluster name as fields, which cannot be set here."""
    try:
        yield
    except ClusterError as error:
        text = str(error)
        for field, option in OPTIONS.items():
            text = text.replace(field, option)
        raise ClusterError(text) from error


@contextmanager
def stopping_gently() -> Iterator[None]:
    """Say after Ctrl-C that nothing is lost."""
    try:
        with remembered():
            yield
    except KeyboardInterrupt:
        console.print("Stopped; what has ended is kept. The same command goes on.")
        sys.exit(STATUS)


class Lines:
    """A line for each teacher, for rounds of searches, and for each that ends: how long is left."""

    def __init__(self) -> None:
        self.ended = 0
        self.started = time.monotonic()

    def taught(self, run: Run, count: int, total: int) -> None:
        """One more teacher, new or kept."""
        console.print(f"[teacher {count}/{total}] {run.data} seed {run.seed}")
        self.started = time.monotonic()

    def under_way(self, run: Run, rounds: int) -> None:
        """A search that has come further."""
        console.print(f"... {run.data} seed {run.seed} {run.label}: round {rounds} is accepted")

    def done(self, run: Run, figures: Figures, count: int, total: int) -> None:
        """One more search."""
        self.ended += 1
        left = (time.monotonic() - self.started) / self.ended * (total - count)
        outcome = figures.failed.rstrip(".") or f"last stage {figures.stages[-1]['metric']:.4f}"
        console.print(
            f"[{count}/{total}] {run.data} seed {run.seed} {run.label}: {outcome}, "
            f"{figures.seconds:.0f} s; about {clock(left)} left"
        )
