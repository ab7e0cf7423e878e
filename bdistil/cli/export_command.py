"""``bdistil export``."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from bdistil.cli.display import output, plain_table
from bdistil.errors import SpecError
from bdistil.names import Stacking
from bdistil.optional import require_search

if TYPE_CHECKING:
    from bdistil.data.dataset import Dataset
    from bdistil.export.ensemble import Ensemble
    from bdistil.export.worth_of_int8 import Worth
    from bdistil.searching.result import SearchResult


MOST_CHECKED = 4096  # examples on which other formats are compared
STACKING_WORDS: dict[Stacking, str] = {
    "none": "students one by one, which is the fastest here",
    "block": "students stacked, later layers as one with zeros between them",
    "grouped": "students stacked, later layers as one of equal groups",
    "apart": "first layers stacked",
    "aligned": "students one by one, channels filled up to multiples of eight",
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(export)


def export(
    directory: Annotated[str, typer.Argument(help="The run directory, a path or URI.")],
    out: Annotated[Path | None, typer.Option(help="Default: DIR/ensemble.")] = None,
    stages: Annotated[int | None, typer.Option(help="Keep the first so many students.")] = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="ONNX graphs too.")] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="And these in 8 bits, if accuracy and time are worth it.")
    ] = False,
    int8_anyway: Annotated[
        bool, typer.Option("--int8-anyway", help="In 8 bits even if they are not.")
    ] = False,
    with_teacher: Annotated[
        bool, typer.Option("--with-teacher", help="The teacher's ONNX graph, to be asked last.")
    ] = False,
    torch_export: Annotated[
        bool, typer.Option("--torch-export", help="torch.export programs too.")
    ] = False,
    executorch: Annotated[
        bool, typer.Option("--executorch", help="ExecuTorch programs too, for one example.")
    ] = False,
    litert: Annotated[
        bool, typer.Option("--litert", help="LiteRT models too, for one example.")
    ] = False,
    c: Annotated[
        bool, typer.Option("--c", help="A C header for microcontrollers too, for one example.")
    ] = False,
    web: Annotated[
        bool, typer.Option("--web", help="A web page that runs the stages in the browser.")
    ] = False,
    web_runtime: Annotated[
        Path | None,
        typer.Option(help="Folder of the npm package onnxruntime-web. Default: node_modules."),
    ] = None,
) -> None:
    """Write the ensemble as safetensors, config.json and a model card, and in other formats."""
    require_search()
    from bdistil.export.web_export import find_runtime
    from bdistil.searching.result import SearchResult

    if web_runtime is not None and not web:
        raise SpecError("--web-runtime is for the page of --web; give both, or neither.")
    runtime = find_runtime(web_runtime) if web else None
    result = SearchResult.of(directory)
    run = result.run
    target = out or run.ensemble
    if stages is not None and out is None:
        raise SpecError("--stages needs --out, because the run keeps its whole ensemble.")
    ensemble = result.build_ensemble()
    if stages is not None:
        ensemble = ensemble.truncated(stages)
    chosen = {
        "onnx": onnx or web,
        "int8": int8,
        "int8_anyway": int8_anyway,
        "programs": torch_export,
        "executorch": executorch,
        "litert": litert,
        "c": c,
    }
    formats = {name for name, wanted in chosen.items() if wanted}
    with ensemble.saving(target) as folder:
        output.print(run.shown(target))
        if formats:
            convert(ensemble, folder, target, result.dataset, formats)
        if runtime is not None:
            add_web_page(folder, target, result.dataset, runtime)
        if with_teacher:
            add_teacher(result, ensemble, folder, target)
    run.keep()


def convert(
    ensemble: Ensemble, folder: Path, shown: Path, dataset: Dataset, formats: set[str]
) -> None:
    """Other formats of an ensemble, each checked on the validation split.

    Args:
        ensemble: that is saved in `folder`.
        folder: for the formats.
        shown: where they will be.
        dataset: with the validation split.
        formats: of ``onnx``, ``int8``, ``int8_anyway``, ``programs``, ``executorch``, ``litert``
            and ``c``.
    """
    from bdistil.export.c_export import C_FOLDER, export_c
    from bdistil.export.executorch_export import export_executorch
    from bdistil.export.litert_export import LITERT_FOLDER, export_litert
    from bdistil.export.onnx_export import export_onnx
    from bdistil.export.onnx_quantise import quantise_onnx
    from bdistil.export.torch_export import export_programs
    from bdistil.export.worth_of_int8 import keep_if_worth, worth_of_int8
    from bdistil.runtime.onnx_runner import INT8_FOLDER, ONNX_FOLDER

    validation, task = dataset.validation, dataset.task
    examples = np.asarray(validation.x[:MOST_CHECKED], np.float32)
    checked = f"on {len(examples)} validation examples"
    if formats & {"onnx", "int8", "int8_anyway"}:
        found = export_onnx(ensemble, folder / ONNX_FOLDER, examples)
        output.print(f"{shown / ONNX_FOLDER}: largest difference {found.difference:.1e} {checked}")
        output.print(f"Straight to a stage: {STACKING_WORDS[found.way]}{kept_apart(ensemble)}")
        if found.anew is not None:
            output.print(f"In streams: {streaming_words(found.anew)}")
    if formats & {"int8", "int8_anyway"}:
        quantise_onnx(folder, examples)
        worth = worth_of_int8(folder, examples, validation.y[:MOST_CHECKED], task)
        became = keep_if_worth(worth, folder / INT8_FOLDER, "int8_anyway" in formats)
        output.print(f"{shown / INT8_FOLDER}: {became}; by stage {checked}")
        output.print(quantised_table(worth))
    programs = {
        "programs": export_programs,
        "executorch": export_executorch,
        LITERT_FOLDER: export_litert,
    }
    for name, write in programs.items():
        if name in formats:
            difference = write(ensemble, folder / name, examples)
            output.print(f"{shown / name}: largest difference {difference:.1e} {checked}")
    if "c" in formats:
        off = export_c(ensemble, folder / C_FOLDER, examples)
        compiled = f"compiled, largest relative difference {off or 0:.1e} {checked}"
        unchecked = "not compiled and checked, since there is no C compiler on PATH"
        output.print(f"{shown / C_FOLDER}: {unchecked if off is None else compiled}")


def add_web_page(folder: Path, shown: Path, dataset: Dataset, runtime: Path) -> None:
    """The web page beside the graphs that it runs."""
    from bdistil.export.web_export import WEB_FOLDER, export_web
    from bdistil.runtime.onnx_runner import ONNX_FOLDER

    page = shown / WEB_FOLDER
    export_web(folder, folder / ONNX_FOLDER, folder / WEB_FOLDER, dataset.validation.x, runtime)
    output.print(f"{page}: see it with: python -m http.server --bind 127.0.0.1 -d {page}")


def add_teacher(result: SearchResult, ensemble: Ensemble, folder: Path, shown: Path) -> None:
    """The teacher's graph beside the ensemble; says how often it would be asked.

    Raises:
        SpecError: if the teacher is no network, or the task is a regression.
    """
    from bdistil.export.teacher_export import export_teacher
    from bdistil.runtime.cascade import TEACHER_FOLDER, Cascade
    from bdistil.searching.outcome import teacher_network

    network = teacher_network(result.run, result.dataset)
    if network is None or ensemble.config.regression:
        reason = "the teacher is no network" if network is None else "the task is a regression"
        raise SpecError(f"--with-teacher: {reason}; give Predictor(teacher=...) itself.")
    examples = np.asarray(result.dataset.validation.x[:MOST_CHECKED], np.float32)
    difference = export_teacher(network, ensemble, folder / TEACHER_FOLDER, examples)
    output.print(f"{shown / TEACHER_FOLDER}: largest difference {difference:.1e}")
    point = Cascade(ensemble.config, folder, teacher=True).point
    output.print(
        f"Asked about {point.cost:.1%} of the validation examples, the two together have "
        f"{point.metric:.4f} on them."
    )


def kept_apart(ensemble: Ensemble) -> str:
    """Which bodies do not stack, and why."""
    reasons = ensemble.kept_apart().items()
    return "".join(f"; {name} students run one by one, as {reason}" for name, reason in reasons)


def streaming_words(anew: Collection[str]) -> str:
    """How students take sequences step by step."""
    if not anew:
        return "every student carries its state from step to step"
    names = ", ".join(sorted(anew))
    return f"{names} students are computed anew on what was heard, as they carry no state"


def quantised_table(worth: Worth) -> object:
    """Accuracy (micro F1, R²) of each stage and time of the last, before and after."""
    rows: list[tuple[str, ...]] = [
        (str(stage), f"{before:.4f}", f"{after:.4f}")
        for stage, (before, after) in enumerate(zip(worth.full, worth.int8, strict=True), start=1)
    ]
    rows.append(("µs, one example", *(f"{1e6 * seconds:.3g}" for seconds in worth.seconds)))
    return plain_table(rows, "stage", "float32", "int8")
