"""``bdistil compare``."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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

if TYPE_CHECKING:
    from bdistil.experiments.plan import Plan


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(compare)


def compare(
    specs_and_overrides: SpecsAndOverrides,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="Rivals besides the oracle; repeatable. Default: all that are installed and fit "
            "the data, but exits and cascades, which have to be named."
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
    if not method:
        plan = fitting(plan, OF_ONE_CLASS)
    numbers = range(first_seed, first_seed + seeds)
    carry_out(plan, plan.runs(numbers), out, takes(cpus, gpus, autoscale), address, verbose)


def fitting(plan: Plan, of_one_class: Collection[str]) -> Plan:
    """The comparison without rivals that some of its data do not fit, which is told."""
    unfit = [f"{name} ({task})" for name, task in plan.tasks().items() if task != "classification"]
    if not unfit:
        return plan
    console.print(
        f"Left out: {', '.join(of_one_class)}, which is for data of one class an example, which "
        f"{', '.join(unfit)} has not; --method names what to compare."
    )
    return plan.without(of_one_class)
