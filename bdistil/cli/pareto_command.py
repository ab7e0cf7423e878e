"""``bdistil pareto``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bdistil.cli.display import console, output, plain_table
from bdistil.errors import SpecError
from bdistil.optional import require_search
from bdistil.store.durable import write_atomic

if TYPE_CHECKING:
    from bdistil.report.pareto import Point


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(pareto)


def pareto(
    runs: Annotated[list[Path], typer.Argument(help="Run directories on the same data.")],
    cost: Annotated[
        list[str] | None, typer.Option(help="flops, latency, parameters or memory; repeatable.")
    ] = None,
    max_latency: Annotated[str | None, typer.Option(help="An example, such as 2ms.")] = None,
    max_flops: Annotated[str | None, typer.Option(help="A number, or 10% of the teacher.")] = None,
    min_accuracy: Annotated[
        float | None, typer.Option(help="On validation (or micro F1, or R²).")
    ] = None,
    export: Annotated[Path | None, typer.Option(help="Save the front's ensembles here.")] = None,
    plot: Annotated[Path | None, typer.Option(help="SVG file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Find the stages of all runs that no other stage beats, and export those within limits."""
    require_search()
    from bdistil.report.pareto import front, points_of, within
    from bdistil.report.plots import pareto_plot
    from bdistil.runtime.anytime import seconds

    costs = tuple(cost or ["flops"])
    latency = None if max_latency is None else seconds(max_latency, "--max-latency")
    points = points_of(runs)
    best = front(points, costs)
    chosen = within(best, max_latency=latency, max_flops=max_flops, min_metric=min_accuracy)
    if plot is not None:
        write_atomic(plot, pareto_plot(points, best, costs[0]).encode())
    if export is not None:
        save(chosen, export)
    if as_json:
        output.print(json.dumps([point.to_json() for point in chosen], indent=2))
    else:
        output.print(table(chosen))


def table(points: Sequence[Point]) -> object:
    """The points for people."""
    rows: list[tuple[str, ...]] = [
        (
            str(point.run),
            str(point.stage),
            f"{point.validation:.4f}",
            f"{point.test:.4f}",
            f"{point.flops:,}",
            "-" if point.flops_fraction is None else f"{point.flops_fraction:.1%}",
            f"{point.parameters:,}",
            f"{point.memory:,}",
            f"{point.latency * 1e3:.3g} ms",
        )
        for point in points
    ]
    headers = ("run", "stage", "validation", "test", "FLOPs", "of teacher")
    return plain_table(rows, *headers, "parameters", "bytes", "time")


def save(points: Sequence[Point], folder: Path) -> None:
    """Each point as an ensemble in a folder of its own, named by run and stage."""
    from bdistil.searching.result import SearchResult

    names = {point.run.resolve().name for point in points}
    if len(names) < len({point.run.resolve() for point in points}):
        raise SpecError("--export names folders after runs, and two runs share a name; rename one.")
    for run in dict.fromkeys(point.run for point in points):
        ensemble = SearchResult.of(run).build_ensemble()
        for point in points:
            if point.run == run:
                target = folder / f"{run.resolve().name}-{point.stage}"
                ensemble.truncated(point.stage).save_pretrained(target)
                console.print(f"saved {target}")
