"""``bdistil ablate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
from bdistil.optional import require_search


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(ablate)


def ablate(
    specs_and_overrides: SpecsAndOverrides,
    vary: Annotated[
        list[str] | None,
        typer.Option(help="A field and its values, such as 'space.skip=\\[true, false]'."),
    ] = None,
    cell: Annotated[
        list[str] | None,
        typer.Option(help="One more combination, such as 'space.skip=true space.gamma=3'."),
    ] = None,
    seeds: Seeds = 5,
    first_seed: FirstSeed = 0,
    out: Out = Path("runs/ablation"),
    title: Title = "",
    cpus: Cpus = 1,
    gpus: Gpus = 0,
    autoscale: Autoscale = None,
    address: Address = None,
    verbose: Verbose = False,
) -> None:
    """Search every combination of --vary, and every --cell, on every search space and seed.

    The same command goes on where it was interrupted.
    """
    require_search()
    from bdistil.experiments.design import cell_of, cells_of, factors
    from bdistil.experiments.plan import Plan

    specs, overrides = specs_and_rest(specs_and_overrides)
    varied = factors(vary or [])
    cells = [*cells_of(varied), *map(cell_of, cell or [])]
    if len(cells) < 2:
        raise SpecError("give --vary FIELD=[VALUE, VALUE], or two --cell, to compare something.")
    asked = list(varied) if varied and not cell else ["settings"]
    question = title or f"Which {' and which '.join(asked)}?"
    plan = Plan.of("ablation", question, specs, overrides, cells).as_begun_in(out)
    numbers = range(first_seed, first_seed + seeds)
    carry_out(plan, plan.runs(numbers), out, takes(cpus, gpus, autoscale), address, verbose)
