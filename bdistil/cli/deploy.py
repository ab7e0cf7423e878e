"""``bdistil export`` and ``bdistil predict``."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Annotated

import typer

from bdistil.cli.display import console, output
from bdistil.deploy.predict import predict_file
from bdistil.files import disk_errors


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(export)
    app.command()(predict)


def export(
    directory: Annotated[Path, typer.Argument(help="The run directory.")],
    out: Annotated[Path | None, typer.Option(help="Default: DIR/ensemble.")] = None,
) -> None:
    """Write the ensemble as safetensors, config.json and a model card."""
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
    if out is None:
        write_csv(sys.stdout, predictions.header, predictions.rows)
    else:
        with disk_errors(out), out.open("w", newline="", encoding="utf-8") as file:
            write_csv(file, predictions.header, predictions.rows)
    if predictions.metric is not None:
        console.print(
            f"{predictions.metric_name} on the labels in {data}: {predictions.metric:.4f}"
        )


def write_csv(file: object, header: list[str], rows: list[list[object]]) -> None:
    """Header and rows as CSV."""
    writer = csv.writer(file, lineterminator="\n")  # type: ignore[arg-type]
    writer.writerow(header)
    writer.writerows(rows)
