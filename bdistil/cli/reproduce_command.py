"""``bdistil reproduce``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bdistil.cli.display import console, output
from bdistil.cli.experiment_options import Autoscale, Cpus, Gpus, carry_out, takes
from bdistil.cli.search_command import Address, Verbose
from bdistil.errors import SpecError
from bdistil.optional import require_search


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(reproduce)


def reproduce(
    folder: Annotated[Path, typer.Argument(help="Folder of an experiment.")],
    data: Annotated[
        list[str] | None, typer.Option(help="A data set of it; repeatable. Default: all.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="The first so many. Default: all.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="For the new runs. Default: runs/again-NAME.")
    ] = None,
    cpus: Cpus = 1,
    gpus: Gpus = 0,
    autoscale: Autoscale = None,
    address: Address = None,
    verbose: Verbose = False,
) -> None:
    """Run a committed experiment again and say whether its figures hold."""
    require_search()
    from bdistil.experiments.data_files import changed, check_there, recorded
    from bdistil.experiments.design import with_reached_classes
    from bdistil.experiments.fitting import fitting, unfit_spaces
    from bdistil.experiments.plan import Plan
    from bdistil.experiments.reproduction import committed_curves, reproduction, seeds_of, verdict

    plan, committed = Plan.read(folder), committed_curves(folder)
    if data:
        plan = plan.only(data)
    known = seeds_of(committed[committed.data.isin(plan.spaces)], folder, seeds)
    out = out or Path("runs") / "-".join(["again", folder.resolve().name, *(data or [])])
    if out.resolve() == folder.resolve():
        raise SpecError(f"--out {out} is the experiment itself; choose another folder.")
    plan = plan.as_begun_in(out, by_overrides=False)
    check_there(plan.runs(known), out)
    planned = fitting(plan.runs(known), unfit_spaces(plan))
    runs = [with_reached_classes(run) for run in planned]
    if shorter := sum(run is not plan_run for run, plan_run in zip(runs, planned, strict=True)):
        console.print(
            f"{shorter} of {len(runs)} searches have fewer trials a round than would reach each "
            f"class of their space.ladder, which is refused by now; they run without these classes."
        )
    carry_out(plan, runs, out, takes(cpus, gpus, autoscale), address, verbose)
    table = reproduction(committed_curves(out), committed, plan.spaces, known)
    for _, path in changed(recorded(folder), recorded(out)):
        output.print(f"{path} has changed since the experiment in {folder} began.")
    output.print(verdict(table))
    if not table.holds.all():
        console.print(f"The environment of the first run is at the end of {folder / 'README.md'}.")
        raise typer.Exit(1)
