"""``bdistil search`` and ``bdistil resume``."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from bdistil.cli.display import console, reporter
from bdistil.cli.evaluation_tables import print_evaluation
from bdistil.errors import BdistilError, SpecError
from bdistil.files.file_readers import name_of
from bdistil.interrupt import STATUS, remembered
from bdistil.optional import require_search
from bdistil.spec import Spec, load_spec
from bdistil.store.remote import is_uri

Address = Annotated[
    str | None, typer.Option(help="Ray cluster to use; RAY_ADDRESS works too. Default: here.")
]
Verbose = Annotated[
    bool, typer.Option("--verbose", help="Let Ray and Tune print their own messages.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(search)
    app.command()(resume)


def search(
    spec_and_overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="SPEC KEY=VALUE", help="A YAML file, then overrides."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Your own table (Parquet, CSV, JSON, Arrow, ...), .ts or NPZ file, or a folder: "
            "of photographs or recordings (CLASS/*.jpg, CLASS/*.wav), of parts of a table, or of "
            "NPY files."
        ),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(help="The label's column in --data; again for each of several."),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(help="Share of the teacher's accuracy that is enough, such as .99 or 99%."),
    ] = None,
    within: Annotated[
        str | None, typer.Option(help="Share of the teacher's FLOPs, such as 50%, or a number.")
    ] = None,
    within_parameters: Annotated[
        str | None,
        typer.Option(help="Share of the teacher's parameters, such as 25%, or a number."),
    ] = None,
    within_time: Annotated[
        str | None,
        typer.Option(help="Share of the teacher's time here, such as 25%, or a time: 2ms."),
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(help="What --within-time is measured by: torch (default) or onnxruntime."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads that --within-time is measured with; 1 by default.")
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(help="Most students; by default as many as the goal needs.")
    ] = None,
    out: Annotated[
        str | None, typer.Option(help="Run directory, a path or URI. Default: runs/NAME.")
    ] = None,
    address: Address = None,
    verbose: Verbose = False,
) -> None:
    """Search for an ensemble; the same command again resumes what was interrupted."""
    source, overrides = spec_and_rest(spec_and_overrides)
    options = table_overrides(data, label) | goal_overrides(
        keep=keep,
        within=within,
        within_parameters=within_parameters,
        within_time=within_time,
        runtime=runtime,
        threads=threads,
    )
    if rounds is not None:
        options[f"search.rounds={rounds}"] = "--rounds"
    others = []
    if within is None and (within_time or (within_parameters and source is None)):
        others.append("goal.within=null")  # what FLOPs may be used follows from the other limit
    if source is None and within_time is None and (within or within_parameters):
        others.append("goal.within_time=null")  # as much as was asked for, however long it takes
    spec = load_spec(source or table_spec(data), [*options, *others, *overrides], options)
    run(spec, out or f"runs/{spec.name}", address, verbose)


def spec_and_rest(arguments: Sequence[str] | None) -> tuple[str | None, list[str]]:
    """The SPEC file, if there is one, and the overrides behind it."""
    first, rest = list(arguments or [])[:1], list(arguments or [])[1:]
    return (first[0], rest) if first and "=" not in first[0] else (None, first + rest)


def stopped(out: str) -> str:
    """What an interrupt leaves, and how to go on."""
    from bdistil.runs.run_directory import RunDirectory

    go_on = f"Go on with: bdistil resume {out}"
    with contextlib.suppress(BdistilError):
        if is_uri(out) or RunDirectory(out).journal.read():
            return f"Stopped; accepted rounds are kept. {go_on}"
        if RunDirectory(out).spec_file.exists():
            return f"Stopped before a round was accepted. {go_on}"
    return "Stopped before anything was written; run the same command again."


def resume(
    directory: Annotated[str, typer.Argument(help="The run directory, a path or URI.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE",
            help="Such as workers.*, data.path, search.time_budget.",
        ),
    ] = None,
    address: Address = None,
    verbose: Verbose = False,
) -> None:
    """Go on with an interrupted search."""
    from bdistil.runs.run_directory import RunDirectory

    found = RunDirectory.existing(directory)
    spec = load_spec(found.spec_file, overrides or [])
    found.check_sources(spec)
    run(spec, directory, address, verbose)


def table_spec(data: Path | None) -> dict[str, Any]:
    """The spec for a user's own data when no SPEC is given.

    A goal, and what nobody can know beforehand is searched: recipes compete, as by default, and γ.
    """
    if data is None:
        raise SpecError("give a SPEC file, or --data FILE and --label COLUMN for your own table.")
    return {
        "name": name_of(data),
        "goal": {"keep": 0.99, "within": 0.5, "within_time": "auto"},
        "space": {"gamma": {"low": 3, "high": 30, "log": True}},
    }


def table_overrides(data: Path | None, labels: Sequence[str] | None) -> dict[str, str]:
    """Overrides that --data and --label stand for, and which; JSON keeps odd names whole."""
    paths = [] if data is None else ["data.name=null", f"data.path={json.dumps(str(data))}"]
    overrides = dict.fromkeys(paths, "--data")
    if labels:
        label = labels[0] if len(labels) == 1 else list(labels)
        overrides[f"data.label={json.dumps(label)}"] = "--label"
    return overrides


def goal_overrides(**given: Any) -> dict[str, str]:
    """Overrides that options of the goal stand for, and which."""
    return {
        f"goal.{name}={json.dumps(value)}": f"--{name.replace('_', '-')}"
        for name, value in given.items()
        if value is not None
    }


def run(spec: Spec, out: str, address: str | None, verbose: bool) -> None:
    """Search and show the anytime curve."""
    require_search()
    from bdistil.cluster.launch import launch_search
    from bdistil.report.report import write_report

    try:
        with remembered(), reporter() as shown:
            done = launch_search(spec, out, address=address, verbose=verbose, reporter=shown)
    except KeyboardInterrupt:
        console.print(stopped(out))
        sys.exit(STATUS)
    if not done.rounds:
        console.print(
            f"No round was accepted within search.time_budget={spec.search.time_budget}. Go on "
            f"with: bdistil resume {out} search.time_budget=null"
        )
        sys.exit(1)
    report, kept = write_report(done), done.run
    kept.keep()  # before what may fail, as nobody may read it
    print_evaluation(done.evaluation)
    console.print(f"Ensemble: {kept.shown(kept.ensemble)}")
    console.print(f"Report: {kept.shown(report)}")
