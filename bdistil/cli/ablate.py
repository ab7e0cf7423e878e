"""``bdistil ablate``."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bdistil.cli.display import clock, console, output
from bdistil.cli.search import Address, Verbose
from bdistil.data.optional import require_search
from bdistil.errors import SpecError
from bdistil.files import write_atomic
from bdistil.interrupt import remembered
from bdistil.spec import WorkerSpec

if TYPE_CHECKING:
    from bdistil.study.design import Run
    from bdistil.study.figures import Figures

PLAN_FILE = "experiment.json"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(ablate)


def ablate(
    specs_and_overrides: Annotated[
        list[str],
        typer.Argument(metavar="SPEC... KEY=VALUE", help="Search spaces, then overrides for all."),
    ],
    vary: Annotated[
        list[str] | None,
        typer.Option(help="A field and its values, such as 'space.skip=[true, false]'."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="0, 1, ... so many.")] = 5,
    first_seed: Annotated[int, typer.Option(min=0)] = 0,
    out: Annotated[Path, typer.Option(help="Folder of the experiment.")] = Path("runs/ablation"),
    title: Annotated[str | None, typer.Option(help="The question, for the README.")] = None,
    cpus: Annotated[float, typer.Option(min=0, help="Of a search.")] = 1,
    gpus: Annotated[float, typer.Option(min=0, help="Of a search.")] = 0,
    address: Address = None,
    verbose: Verbose = False,
) -> None:
    """Search every combination of --vary on every search space and seed, and compare them.

    The same command goes on where it was interrupted.
    """
    require_search()
    from bdistil.study.design import cells_of, factors, runs_of
    from bdistil.study.execute import execute
    from bdistil.study.write_up import write_up

    specs = [each for each in specs_and_overrides if "=" not in each]
    overrides = [each for each in specs_and_overrides if "=" in each]
    varied = factors(vary or [])
    numbers = range(first_seed, first_seed + seeds)
    runs = runs_of(specs, cells_of(varied), numbers, overrides)
    keep_plan(out, {"specs": specs, "overrides": overrides, "vary": varied})
    workers = WorkerSpec(count=len(runs), cpus=cpus, gpus=gpus)
    with stopping_gently():
        found = execute(runs, out, workers, address, verbose, Lines())
    output.print(write_up(found, out, title or f"Which {' and which '.join(varied)}?"))
    console.print(f"Tables and plots: {out / 'README.md'}")


@contextmanager
def stopping_gently() -> Iterator[None]:
    """Say after Ctrl-C that nothing is lost."""
    try:
        with remembered():
            yield
    except KeyboardInterrupt:
        console.print("Stopped; what has ended is kept. The same command goes on.")
        sys.exit(130)


def keep_plan(out: Path, plan: dict[str, object]) -> None:
    """Write what the experiment is; refuse a folder of another one.

    Raises:
        SpecError: if the folder holds another experiment.
    """
    file, content = out / PLAN_FILE, json.dumps(plan, indent=1)
    if file.exists() and json.loads(file.read_text()) != json.loads(content):
        raise SpecError(f"{out} holds another experiment (see {file}); choose another --out.")
    write_atomic(file, content.encode())


class Lines:
    """A line for each search that has ended, with the time that is left."""

    def __init__(self) -> None:
        self.started, self.ended = time.monotonic(), 0

    def __call__(self, run: Run, figures: Figures, count: int, total: int) -> None:
        """One more."""
        self.ended += 1
        left = (time.monotonic() - self.started) / self.ended * (total - count)
        outcome = figures.failed or f"last stage {figures.stages[-1]['metric']:.4f}"
        console.print(
            f"[{count}/{total}] {run.data} seed {run.seed} {run.label}: {outcome}, "
            f"{figures.seconds:.0f} s; about {clock(left)} left"
        )
