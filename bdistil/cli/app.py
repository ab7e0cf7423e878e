"""Entry point of the console script ``bdistil``."""

from __future__ import annotations

import os
import sys
import warnings

import typer
from rich.text import Text

from bdistil.cli import (
    ablate_command,
    bench_command,
    compare_command,
    doctor_command,
    export_command,
    inspect_command,
    pareto_command,
    reproduce_command,
    search_command,
)
from bdistil.cli.display import console
from bdistil.errors import BdistilError, BdistilWarning
from bdistil.version import __version__

app = typer.Typer(
    help="Turn one large trained network into a progressive ensemble of small ones.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (
    search_command,
    inspect_command,
    doctor_command,
    export_command,
    pareto_command,
    bench_command,
    ablate_command,
    compare_command,
    reproduce_command,
):
    command.register(app)


@app.callback(invoke_without_command=True)
def root(version: bool = typer.Option(False, "--version", help="Print the version.")) -> None:
    """Turn one large trained network into a progressive ensemble of small ones."""
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line; expected errors are one sentence and a non-zero exit status."""
    warnings.showwarning = _show_warning  # type: ignore[assignment]
    try:
        app()
    except BdistilError as error:
        console.print(Text.assemble(("Error: ", "bold red"), str(error)))
        sys.exit(2)
    except KeyboardInterrupt:
        console.print("Stopped.")
        sys.exit(130)
    except BrokenPipeError:  # the reader of a pipe has gone, as in `bdistil students | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _show_warning(message: Warning | str, category: type[Warning], *rest: object) -> None:
    """Our own warnings are one line; those of libraries are for developers (python -W)."""
    if issubclass(category, BdistilWarning):
        console.print(Text.assemble(("Note: ", "yellow"), str(message)))
