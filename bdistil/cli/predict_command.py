"""``bdistil predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bdistil.cli.arguments import Modules
from bdistil.cli.display import console
from bdistil.cli.predictions import write_predictions
from bdistil.spec.user_modules import import_modules


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(predict)


def predict(
    ensemble: Annotated[str, typer.Argument(help="A saved ensemble or run, a path or URI.")],
    data: Annotated[Path, typer.Argument(help="Table, arrays, photographs or recordings.")],
    stages: Annotated[int | None, typer.Option(help="Students to run. Default: all.")] = None,
    deadline: Annotated[
        str | None, typer.Option(help="Best answers by then, for each 4,096 rows, such as 5ms.")
    ] = None,
    exit: Annotated[
        str | None,
        typer.Option(help="Rows leave once they are sure, by a score such as confidence."),
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="Mean FLOPs of a row, or such as 50% of all stages.")
    ] = None,
    proba: Annotated[bool, typer.Option("--proba", help="The probability of every class.")] = False,
    ask_teacher: Annotated[
        bool, typer.Option("--ask-teacher", help="Unsure rows go to the teacher exported with it.")
    ] = False,
    keep: Annotated[
        list[str] | None,
        typer.Option(help="A column to write before the answers, such as an identifier."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="CSV file. Default: the terminal.")] = None,
    module: Modules = None,
) -> None:
    """Predict the rows of a file or the files of a folder, as CSV; without Ray and Optuna."""
    import_modules(module or [])
    write_predictions(
        ensemble,
        data,
        out=out,
        say=console.print,
        stages=stages,
        deadline=deadline,
        exit=exit,
        budget=budget,
        proba=proba,
        keep=keep,
        ask_teacher=ask_teacher,
    )
