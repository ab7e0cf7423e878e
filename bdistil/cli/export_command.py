"""``bdistil export`` and ``bdistil predict``."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from bdistil.cli.display import console, output, plain_table
from bdistil.cli.inspect_command import Modules
from bdistil.errors import SpecError
from bdistil.export.predict import predict_file
from bdistil.optional import require_search
from bdistil.spec.user_modules import import_modules
from bdistil.store.durable import write_atomic
from bdistil.store.remote import WorkingCopy

if TYPE_CHECKING:
    from bdistil.data.dataset import Dataset
    from bdistil.export.ensemble import Ensemble


MOST_CHECKED = 4096  # examples on which other formats are compared


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(export)
    app.command()(predict)


def export(
    directory: Annotated[str, typer.Argument(help="The run directory, a path or URI.")],
    out: Annotated[Path | None, typer.Option(help="Default: DIR/ensemble.")] = None,
    stages: Annotated[int | None, typer.Option(help="Keep the first so many students.")] = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="ONNX graphs too.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="And these with 8-bit weights.")] = False,
    torch_export: Annotated[
        bool, typer.Option("--torch-export", help="torch.export programs too.")
    ] = False,
    executorch: Annotated[
        bool, typer.Option("--executorch", help="ExecuTorch programs too, for one example.")
    ] = False,
) -> None:
    """Write the ensemble as safetensors, config.json and a model card, and in other formats."""
    require_search()
    from bdistil.searching.result import SearchResult

    result = SearchResult.of(directory)
    run = result.run
    target = out or run.ensemble
    if stages is not None and out is None:
        raise SpecError("--stages needs --out, because the run keeps its whole ensemble.")
    ensemble = result.build_ensemble()
    if stages is not None:
        ensemble = ensemble.truncated(stages)
    ensemble.save_pretrained(target)
    output.print(run.shown(target))
    chosen = {"onnx": onnx, "int8": int8, "programs": torch_export, "executorch": executorch}
    formats = {name for name, wanted in chosen.items() if wanted}
    if formats:
        convert(ensemble, target, result.dataset, formats)
    run.keep()


def convert(ensemble: Ensemble, target: Path, dataset: Dataset, formats: set[str]) -> None:
    """Other formats of a saved ensemble, each checked on the validation split."""
    from bdistil.export.executorch_export import export_executorch
    from bdistil.export.formats import accuracies
    from bdistil.export.onnx_export import export_onnx
    from bdistil.export.onnx_quantise import quantise_onnx
    from bdistil.export.torch_export import export_programs
    from bdistil.runtime.onnx_runner import INT8_FOLDER, ONNX_FOLDER

    validation, task = dataset.validation, dataset.task
    examples = np.asarray(validation.x[:MOST_CHECKED], np.float32)
    checked = f"on {len(examples)} validation examples"
    if formats & {"onnx", "int8"}:
        difference = export_onnx(ensemble, target / ONNX_FOLDER, examples)
        output.print(f"{target / ONNX_FOLDER}: largest difference {difference:.1e} {checked}")
    if "int8" in formats:
        quantise_onnx(target / ONNX_FOLDER, target / INT8_FOLDER)
        output.print(f"{target / INT8_FOLDER}: by stage {checked}")
        output.print(
            quantised_table(
                *accuracies(target, ("onnx", "int8"), examples, validation.y[:MOST_CHECKED], task)
            )
        )
    for name, write in (("programs", export_programs), ("executorch", export_executorch)):
        if name in formats:
            difference = write(ensemble, target / name, examples)
            output.print(f"{target / name}: largest difference {difference:.1e} {checked}")


def quantised_table(full: Sequence[float], int8: Sequence[float]) -> object:
    """Accuracy (micro F1, R²) of each stage before and after quantisation."""
    rows: list[tuple[str, ...]] = [
        (str(stage), f"{before:.4f}", f"{after:.4f}")
        for stage, (before, after) in enumerate(zip(full, int8, strict=True), start=1)
    ]
    return plain_table(rows, "stage", "float32", "int8")


def predict(
    ensemble: Annotated[str, typer.Argument(help="A saved ensemble or run, a path or URI.")],
    data: Annotated[Path, typer.Argument(help="Parquet, CSV, NPZ, NPY or folder to predict.")],
    stages: Annotated[int | None, typer.Option(help="Students to run. Default: all.")] = None,
    out: Annotated[Path | None, typer.Option(help="CSV file. Default: the terminal.")] = None,
    module: Modules = None,
) -> None:
    """Predict the rows of a file, as CSV; needs neither Ray nor Optuna."""
    import_modules(module or [])
    copy = WorkingCopy(ensemble)
    copy.fetch(leave_out=("teacher", "students", "tune"))
    predictions = predict_file(copy.folder, data, stages)
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
