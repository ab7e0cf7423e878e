"""``bdistil pareto``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from bdistil.cli.arguments import Modules
from bdistil.cli.display import console, output, plain_table
from bdistil.cli.export_formats import MOST_CHECKED
from bdistil.errors import SpecError
from bdistil.names import RUNTIMES, Runtime
from bdistil.optional import require_search
from bdistil.runtime.clock import microseconds, told_ratio
from bdistil.spec.user_modules import import_modules
from bdistil.store.durable import check_place, write_atomic

if TYPE_CHECKING:
    from bdistil.report.pareto import Point


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(pareto)


def pareto(
    runs: Annotated[
        list[str], typer.Argument(help="Run directories on the same data, paths or URIs.")
    ],
    cost: Annotated[
        list[str] | None,
        typer.Option(help="latency (the default), flops, parameters or memory; repeatable."),
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(help="What is timed: onnxruntime (default, where it is installed) or torch."),
    ] = None,
    batch: Annotated[int, typer.Option(help="Examples at once, as they will be asked about.")] = 1,
    max_latency: Annotated[str | None, typer.Option(help="An example, such as 2ms.")] = None,
    max_flops: Annotated[str | None, typer.Option(help="A number, or 10% of the teacher.")] = None,
    min_accuracy: Annotated[
        float | None, typer.Option(help="On validation (or micro F1, or R²).")
    ] = None,
    export: Annotated[Path | None, typer.Option(help="Save the front's ensembles here.")] = None,
    plot: Annotated[Path | None, typer.Option(help="SVG file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    module: Modules = None,
) -> None:
    """Find the stages of all runs that no other stage beats, and export those within limits.

    Times are of what will be served: straight to a stage, one thread, for ONNX graphs where
    onnxruntime is installed (and --export writes these).
    """
    require_search()
    import_modules(module or [])
    from bdistil.export.served import default_runtime
    from bdistil.report.pareto import Limits, check_costs, front, points_of
    from bdistil.report.plots import pareto_plot
    from bdistil.runtime.anytime import seconds

    costs = tuple(cost or ["latency"])
    check_costs(costs)
    latency = None if max_latency is None else seconds(max_latency, "--max-latency")
    if min_accuracy is not None and min_accuracy > 1:
        raise SpecError(f"--min-accuracy is {min_accuracy:g}; 1 is the most that there can be.")
    if plot is not None:
        check_place(plot)
    if export is not None:
        check_place(export, folder=True)
        check_names(runs)
    limits = Limits(latency, max_flops, min_accuracy)
    timed_by = default_runtime() if runtime is None else known_runtime(runtime)
    points = points_of(runs, timed_by, batch, console.print)
    best = front(points, costs)
    chosen = front(limits.within(points), costs)
    if plot is not None:
        write_atomic(plot, pareto_plot(points, best, costs[0]).encode())
    if export is not None:
        save(chosen, export)
    if as_json:
        output.print(json.dumps([point.to_json() for point in chosen], indent=2))
    else:
        output.print(table(chosen))
        output.print(
            f"time: of one example in a batch of {batch}, straight to the stage by {timed_by}, "
            "one thread, on this machine"
        )


def known_runtime(name: str) -> Runtime:
    """A runtime by its name.

    Raises:
        SpecError: if there is no such one.
    """
    for known in RUNTIMES:
        if name == known:
            return known
    raise SpecError(f"--runtime {name!r} is unknown; choose {' or '.join(RUNTIMES)}.")


def table(points: Sequence[Point]) -> object:
    """The points for people."""
    rows: list[tuple[str, ...]] = [
        (
            point.run,
            str(point.stage),
            f"{point.validation:.4f}",
            f"{point.test:.4f}",
            microseconds(point.latency),
            "-" if point.latency_ratio is None else f"{told_ratio(point.latency_ratio)}x",
            point.way,
            f"{point.flops:,}",
            "-" if point.flops_fraction is None else f"{point.flops_fraction:.1%}",
            f"{point.parameters:,}",
            f"{point.memory:,}",
        )
        for point in points
    ]
    headers = ("run", "stage", "validation", "test", "time, µs", "of teacher", "stacking", "FLOPs")
    return plain_table(rows, *headers, "of teacher", "parameters", "bytes")


def check_names(runs: Sequence[str]) -> None:
    """Refuse runs whose exports would be named alike.

    Raises:
        SpecError: if there are such.
    """
    from bdistil.report.pareto import name_of
    from bdistil.store.remote import is_uri

    places = {run if is_uri(run) else str(Path(run).resolve()) for run in runs}
    if len({name_of(place) for place in places}) < len(places):
        raise SpecError("--export names folders after runs, and two runs share a name; rename one.")


def save(points: Sequence[Point], folder: Path) -> None:
    """Each point as an ensemble in a folder of its own, named by run and stage, as it was timed."""
    from bdistil.export.onnx_export import export_onnx
    from bdistil.report.pareto import name_of
    from bdistil.runtime.onnx_runner import ONNX_FOLDER
    from bdistil.searching.result import SearchResult

    for run in dict.fromkeys(point.run for point in points):
        result = SearchResult.of(run)
        ensemble = result.build_ensemble()
        examples = result.dataset.validation.x[:MOST_CHECKED].astype(np.float32)
        for point in points:
            if point.run == run:
                target = folder / f"{name_of(run)}-{point.stage}"
                prefix = result.first_stages(ensemble, point.stage)
                with prefix.saving(target) as aside:
                    if point.runtime == "onnxruntime":
                        export_onnx(prefix, aside / ONNX_FOLDER, examples)
                console.print(f"saved {target}")
