"""``bdistil status``, ``report``, ``datasets``, ``students`` and ``schema``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from bdistil.cli.arguments import Modules, Run
from bdistil.cli.display import output, plain_table, rounds_table
from bdistil.cli.evaluation_tables import print_evaluation
from bdistil.optional import require_search
from bdistil.runs.run_directory import RunDirectory
from bdistil.spec.user_modules import import_modules
from bdistil.version import version_and_commit
from bdistil.words import counted


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (status, report, datasets, students, schema):
        app.command()(command)


def status(
    directory: Run,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    module: Modules = None,
) -> None:
    """Show how far a search is, and its anytime curve on the test split."""
    require_search()
    import_modules(module or [])
    from bdistil.data.data_card import stored_card
    from bdistil.runs.open_round import kept_candidates
    from bdistil.searching.result import SearchResult

    run = RunDirectory.existing(directory)
    result, card = SearchResult(run), stored_card(run.data_file)
    records, rounds, ended = run.journal.read(), run.spec().search.most_rounds, result.ended
    kept = 0 if result.complete else kept_candidates(run)
    version = run.teacher.card().version if run.teacher.exists else ""
    state = "running" if run.is_running else "complete" if result.complete else "stopped"
    if as_json:
        figures: dict[str, Any] = {"teacher": None, "stages": []}
        if records:
            figures = result.evaluation.model_dump(mode="json")
        received = [record.received_bytes for record in records]
        summary = {
            "state": state,
            "version": version,
            "rounds": rounds,
            "accepted": len(records),
            "ended": None if ended is None else {"end": ended.end, "reason": ended.reason},
            "stopped_trials": [len(record.stopped) for record in records],
            "kept_trials": kept,
            "cut_trials": [record.cut_after for record in records],
            "received_bytes": received,
            "game": None if result.guarantee is None else asdict(result.guarantee),
            "data": None if card is None else card.model_dump(mode="json"),
        }
        output.print(json.dumps(summary | figures, indent=2))
        return
    output.print(f"{directory}: {state}, {len(records)} of {counted(rounds, 'round')} accepted")
    if version and version != version_and_commit():
        output.print(f"begun with bdistil {version}")
    if kept:
        output.print(f"open round: {counted(kept, 'candidate')} kept")
    if ended is not None:
        output.print(f"ended: {ended.reason}")
    if card is not None:
        output.print(str(card))
    if records:
        output.print(rounds_table(records), str(result.guarantee or ""), "", sep="\n")
        print_evaluation(result.evaluation)


def report(
    directory: Run,
    out: Annotated[Path | None, typer.Option(help="Default: DIR/report.html.")] = None,
    module: Modules = None,
) -> None:
    """Write a report that one file holds: figures, plots, rounds and trials."""
    require_search()
    import_modules(module or [])
    from bdistil.report.report import write_report
    from bdistil.searching.result import SearchResult

    result = SearchResult.of(directory)
    path = write_report(result, out)
    result.run.keep()
    output.print(result.run.shown(path))


def datasets(module: Modules = None) -> None:
    """List the known data sets and what is missing of them."""
    from bdistil.datasets.catalogue import list_datasets

    import_modules(module or [])
    rows: list[tuple[str, ...]] = [
        (
            entry.name,
            entry.domain,
            entry.task,
            "x".join(map(str, entry.input_shape)),
            str(entry.classes or "-"),
            f"{entry.examples:,}",
            entry.source,
            "present" if entry.present else entry.remedy,
        )
        for entry in list_datasets()
    ]
    headers = ("name", "domain", "task", "shape", "classes", "examples", "source", "")
    output.print(plain_table(rows, *headers))


def students(module: Modules = None) -> None:
    """List the student classes with the options of their architecture."""
    from bdistil.zoo.backbones import FAMILIES
    from bdistil.zoo.registry import student_classes

    import_modules(module or [])
    classes = student_classes()
    rows: list[tuple[str, ...]] = [
        (s.name, ", ".join(s.domains), f"{s.lr:g}", f"{s.growth:g}", s.description) for s in classes
    ]
    output.print(plain_table(rows, "name", "domains", "lr", "growth", "description"))
    options: list[tuple[str, ...]] = [
        (s.name, *option) for s in classes for option in s.described_options()
    ]
    output.print(plain_table(options, "name", "option", "values", "default"))
    networks: list[tuple[str, ...]] = [
        (f"{library}:{family.names}", f"{family.lr:g}")
        for library, families in FAMILIES.items()
        for family in families
    ]
    output.print(plain_table(networks, "networks of libraries", "lr"))


def schema() -> None:
    """Print the JSON schema of a search space, by which editors complete and check it."""
    from bdistil.spec.reference import schema

    typer.echo(schema(), nl=False)
