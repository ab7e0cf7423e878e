"""``bdistil bench``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bdistil.cli.arguments import Modules, Run
from bdistil.cli.display import console, output, plain_table
from bdistil.optional import require_search
from bdistil.runtime.clock import microseconds, told_ratio
from bdistil.spec.user_modules import import_modules
from bdistil.store.durable import check_local, check_place, write_atomic

if TYPE_CHECKING:
    from bdistil.report.bench import Bench


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(bench)


def bench(
    directory: Run,
    batch: Annotated[
        list[int] | None, typer.Option(help="Examples at once; repeatable. Default: 1 and 64.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0, max=86_400, help="On each batch size.")] = 5.0,
    single_student: Annotated[
        bool,
        typer.Option(
            "--single-student",
            help="Train one student that is as dear as the last stage, and time it too.",
        ),
    ] = False,
    out: Annotated[Path | None, typer.Option(help="For bench.json and plot. Default: DIR.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    module: Modules = None,
) -> None:
    """Time teacher, stages and peers on this machine, by torch and onnxruntime, one thread."""
    require_search()
    import_modules(module or [])
    from bdistil.report.bench import bench as measure
    from bdistil.report.plots import bench_plot
    from bdistil.searching.result import SearchResult

    result = SearchResult.of(directory)
    run = result.run
    folder = out or run.path
    if out is not None:
        check_local(out)
    check_place(folder, folder=True)  # before minutes of timing
    found = measure(result, batch, seconds, console.print, with_single_student=single_student)
    figures = json.dumps(found.to_json(), indent=2)
    write_atomic(folder / "bench.json", figures.encode())
    console.print(f"Table: {run.shown(folder / 'bench.json')}")
    if any(timing.way == "teacher" for timing in found.timings):
        plot = bench_plot(found.timings, result.evaluation.task)
        write_atomic(folder / "bench.svg", plot.encode())
        console.print(f"Plot: {run.shown(folder / 'bench.svg')}")
    run.keep()
    if as_json:
        output.print(figures)
    else:
        show(found)


def show(found: Bench) -> None:
    """The figures for people."""
    rows = [
        (
            timing.runtime,
            str(timing.batch),
            timing.way,
            timing.stacking or "-",
            str(timing.stage or "-"),
            f"{timing.metric:.4f}",
            *map(microseconds, (timing.median, timing.low, timing.high)),
            "-" if timing.ratio is None else f"{told_ratio(timing.ratio)}x",
            "-" if timing.flops_ratio is None else f"{timing.flops_ratio:.1%}",
        )
        for timing in found.timings
    ]
    rows += [
        (
            peer.runtime,
            str(peer.batch),
            peer.name,
            "-",
            "-",
            f"{peer.metric:.4f}",
            *map(microseconds, (peer.median, peer.low, peer.high)),
            "-",
            "-",
        )
        for peer in found.peers
    ]
    headers = ("runtime", "batch", "way", "stacking", "stage", "metric", "median µs", "10%", "90%")
    output.print(plain_table(rows, *headers, "of teacher", "FLOPs"))
    for overhead in found.overheads:
        output.print(
            f"batch {overhead.batch}: all stages streamed take {overhead.ratio:.2f} times their "
            f"students run bare, {microseconds(overhead.dispatch)} µs a stage more (torch)."
        )
    for note in found.notes:
        output.print(note)
