"""``bdistil compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bdistil.cli.ablate import Lines, keep_plan, stopping_gently
from bdistil.cli.display import console, output
from bdistil.cli.search import Address, Verbose
from bdistil.data.optional import require_search
from bdistil.errors import SpecError
from bdistil.spec import WorkerSpec


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(compare)


def compare(
    specs_and_overrides: Annotated[
        list[str],
        typer.Argument(metavar="SPEC... KEY=VALUE", help="Search spaces, then overrides for all."),
    ],
    method: Annotated[
        list[str] | None, typer.Option(help="Rivals besides the oracle; repeatable. Default: all.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="0, 1, ... so many.")] = 5,
    first_seed: Annotated[int, typer.Option(min=0)] = 0,
    out: Annotated[Path, typer.Option(help="Folder of the experiment.")] = Path("runs/comparison"),
    cpus: Annotated[float, typer.Option(min=0, help="Of a method's run.")] = 1,
    gpus: Annotated[float, typer.Option(min=0, help="Of a method's run.")] = 0,
    address: Address = None,
    verbose: Verbose = False,
) -> None:
    """Compare the search with other ensemble distillation, on the same teachers and costs.

    The same command goes on where it was interrupted.
    """
    require_search()
    from bdistil.study.design import METHOD, OUR_METHODS, runs_of
    from bdistil.study.execute import execute
    from bdistil.study.rivals.methods import RIVALS
    from bdistil.study.write_up import write_comparison

    known = [*OUR_METHODS, *RIVALS]
    chosen = list(dict.fromkeys(["ours", "oracle", *(method or known)]))
    for name in chosen:
        if name not in known:
            raise SpecError(f"--method {name!r} is unknown; choose {', '.join(known)}.")
    specs = [each for each in specs_and_overrides if "=" not in each]
    overrides = [each for each in specs_and_overrides if "=" in each]
    cells = [{METHOD: name} for name in chosen]
    runs = runs_of(specs, cells, range(first_seed, first_seed + seeds), overrides)
    keep_plan(out, {"specs": specs, "overrides": overrides, "methods": chosen})
    workers = WorkerSpec(count=len(runs), cpus=cpus, gpus=gpus)
    with stopping_gently():
        found = execute(runs, out, workers, address, verbose, Lines())
    output.print(write_comparison(found, out))
    console.print(f"Tables and plots: {out / 'README.md'}")
