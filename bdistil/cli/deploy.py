"""``bdistil export`` and ``bdistil predict``."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path
from typing import Annotated

import typer

from bdistil.cli.display import console, output
from bdistil.data.optional import require_search
from bdistil.deploy.predict import predict_file
from bdistil.files import write_atomic


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(export)
    app.command()(predict)


def export(
    directory: Annotated[Path, typer.Argument(help="The run directory.")],
    out: Annotated[Path | None, typer.Option(help="Default: DIR/ensemble.")] = None,
) -> None:
    """Write the ensemble as safetensors, config.json and a model card."""
    require_search()
    from bdistil.distributed.outcome import export_ensemble
    from bdistil.distributed.run_directory import RunDirectory

    run = RunDirectory.existing(directory)
    target = out or run.ensemble
    export_ensemble(run).save_pretrained(target)
    output.print(str(target))


def predict(
    ensemble: Annotated[Path, typer.Argument(help="A saved ensemble or a run directory.")],
    data: Annotated[Path, typer.Argument(help="Parquet, CSV, NPZ or NPY with the features.")],
    stages: Annotated[int | None, typer.Option(help="Students to run. Default: all.")] = None,
    out: Annotated[Path | None, typer.Option(help="CSV file. Default: the terminal.")] = None,
) -> None:
    """Predict the rows of a file, as CSV; needs neither Ray nor Optuna."""
    predictions = predict_file(ensemble, data, stages)
    text = as_csv(predictions.header, predictions.rows)
    if out is None:
        sys.stdout.write(text)
    else:
        write_atomic(out, text.encode())
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
