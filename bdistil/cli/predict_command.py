"""``bdistil predict``."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path
from typing import Annotated

import typer

from bdistil.cli.display import console
from bdistil.cli.inspect_command import Modules
from bdistil.errors import SpecError
from bdistil.export.predict import predict_file
from bdistil.spec.user_modules import import_modules
from bdistil.store.durable import write_atomic
from bdistil.store.remote import WorkingCopy


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
    if out is not None and out.exists() and out.samefile(data):
        raise SpecError(f"--out is {str(out)!r}, the data themselves; name another file.")
    import_modules(module or [])
    copy = WorkingCopy(ensemble)
    copy.fetch(leave_out=("teacher", "students", "tune"))
    predictions = predict_file(
        copy.folder,
        data,
        stages,
        deadline=deadline,
        exit=exit,
        budget=budget,
        every_class=proba,
        keep=keep or (),
        ask_teacher=ask_teacher,
    )
    text = as_csv(predictions.header, predictions.rows)
    if out is None:
        sys.stdout.write(text)
    else:
        write_atomic(out, text.encode())
    if ask_teacher:
        share = predictions.asked / max(1, len(predictions.rows))
        console.print(f"the teacher answered {share:.1%} of the rows")
    if predictions.metric is not None:
        count, rows = predictions.compared, len(predictions.rows)
        which = "" if count == rows else f" (known in {count:,} of {rows:,} rows)"
        console.print(
            f"{predictions.metric_name} on the labels in {data}{which}: {predictions.metric:.4f}"
        )


def as_csv(header: list[str], rows: list[list[object]]) -> str:
    """Header and rows as CSV."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue()
