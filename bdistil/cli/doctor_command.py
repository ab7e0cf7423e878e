"""``bdistil doctor``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from bdistil.cli.display import output, plain_table
from bdistil.cli.search_command import Address, spec_and_rest
from bdistil.errors import SpecError
from bdistil.optional import require
from bdistil.spec import load_spec

if TYPE_CHECKING:
    from bdistil.cluster.doctor import NodeCheck


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)


def doctor(
    spec_and_overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SPEC] [KEY=VALUE]...", help="Check what this search needs, too."),
    ] = None,
    address: Address = None,
    out: Annotated[
        str | None,
        typer.Option(help="Run directory; checks that all nodes share its folder, or its URI."),
    ] = None,
    patience: Annotated[
        float, typer.Option(min=0, help="Seconds in which each node must answer.")
    ] = 30,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Tell how busy SPEC would keep so many; else its workers.count (2 where that is "
            "open), as far as they fit.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Check a cluster before a search; exit status 1 if anything is wrong."""
    for module in ("ray", "optuna"):
        require(module, "search")
    from bdistil.cluster.doctor import examine

    source, overrides = spec_and_rest(spec_and_overrides)
    if source is None and (overrides or workers):
        given = overrides[0] if overrides else "--workers"
        raise SpecError(f"{given} is about a search; name its SPEC file first.")
    spec = None if source is None else load_spec(source, overrides)
    found = examine(spec, out, address, patience, workers)
    if as_json:
        output.out(found.model_dump_json(indent=2), highlight=False)
    else:
        output.print(nodes_table(found.driver, found.nodes))
        for note in (*found.notes, *found.utilisation):
            output.print(f"Note: {note}", markup=False, soft_wrap=True)
        for problem in found.problems or ["All is well."]:
            output.print(problem, markup=False, soft_wrap=True)
    raise typer.Exit(0 if found.healthy else 1)


def nodes_table(driver: dict[str, str | None], nodes: list[NodeCheck]) -> Table:
    """The driver and every node: resources, versions, storage."""
    rows = [("driver", "", "", "", *(version or "-" for version in driver.values()), "")]
    for node in nodes:
        versions = (node.versions.get(package) or "-" for package in driver)
        sizes = (f"{node.cpus:g}", f"{node.gpus:g}", f"{node.memory:g} GiB")
        rows.append((node.name, *sizes, *versions, node.storage or ""))
    return plain_table(rows, "node", "CPUs", "GPUs", "memory", *driver, "storage")
