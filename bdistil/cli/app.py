"""The command line with all of its commands, where the extras are installed."""

from __future__ import annotations

from typing import Any

import typer
from rich.text import Text
from typer.core import TyperGroup

from bdistil.cli import (
    ablate_command,
    bench_command,
    compare_command,
    doctor_command,
    export_command,
    inspect_command,
    pareto_command,
    predict_command,
    reproduce_command,
    search_command,
)
from bdistil.cli.display import console
from bdistil.cli.failures import NotOfTheTerminal, run_to_the_end
from bdistil.version import __version__


class Commands(TyperGroup):
    """The commands; typer does not get to see errors that it would take for the terminal's."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was given."""
        try:
            return super().invoke(ctx)
        except (BrokenPipeError, EOFError, KeyboardInterrupt) as error:
            raise NotOfTheTerminal from error


STYLES = {"Error: ": "bold red", "Note: ": "yellow"}

app = typer.Typer(
    cls=Commands,
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
    predict_command,
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
    run_to_the_end(app, _say)


def _say(word: str, sentence: str) -> None:
    console.print(Text.assemble((word, STYLES.get(word, "")), sentence))
