"""``bdistil compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bdistil.cli.display import console
from bdistil.cli.experiment_options import (
    Autoscale,
    Cpus,
    FirstSeed,
    Gpus,
    Out,
    Seeds,
    SpecsAndOverrides,
    Title,
    carry_out,
    specs_and_rest,
    takes,
)
from bdistil.cli.search_command import Address, Verbose
from bdistil.errors import SpecError
from bdistil.optional import require, require_search


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(compare)


def compare(
    specs_and_overrides: SpecsAndOverrides,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="Rivals besides the oracle; repeatable. Default: all that are installed and fit "
            "the data, but early-exit, teacher-exits and cascades, which have to be named."
        ),
    ] = None,
    seeds: Seeds = 5,
    first_seed: FirstSeed = 0,
    out: Out = Path("runs/comparison"),
    title: Title = "Against other ensemble distillation",
    cpus: Cpus = 1,
    gpus: Gpus = 0,
    autoscale: Autoscale = None,
    address: Address = None,
    verbose: Verbose = False,
) -> None:
    """Compare the search with other ensemble distillation, on the same teachers and costs.

    The same command goes on where it was interrupted.
    """
    require_search()
    from bdistil.experiments.design import IN_CASCADE, METHOD, OUR_METHODS
    from bdistil.experiments.fitting import check_something_left, fitting, left_out, unfit_spaces
    from bdistil.experiments.plan import Plan
    from bdistil.experiments.rivals.methods import OF_ONE_CLASS, RIVALS, at_hand
    from bdistil.experiments.rivals.peer import PACKAGE

    known = [*OUR_METHODS, *RIVALS]
    everything = [name for name in (*OUR_METHODS, *at_hand()) if name != IN_CASCADE]
    chosen = list(dict.fromkeys(["ours", "oracle", *(method or everything)]))
    if PACKAGE in chosen:
        require(PACKAGE, "peers")
    for name in chosen:
        if name not in known:
            raise SpecError(f"--method {name!r} is unknown; choose {', '.join(known)}.")
    specs, overrides = specs_and_rest(specs_and_overrides)
    cells = [{METHOD: name} for name in chosen]
    plan = Plan.of("comparison", title, specs, overrides, cells)
    unfit = unfit_spaces(plan)
    note = left_out(plan, unfit)
    if not method and unfit:  # a mean over data sets needs a method's answers on all of them
        plan = plan.without(OF_ONE_CLASS)
        console.print(f"{note}; --method names what to compare.")
    plan = plan.as_begun_in(out)
    runs = fitting(plan.runs(range(first_seed, first_seed + seeds)), unfit)
    if method and unfit:
        check_something_left(method, runs, f"{note}.")
        console.print(f"{note}.")
    carry_out(plan, runs, out, takes(cpus, gpus, autoscale), address, verbose)
