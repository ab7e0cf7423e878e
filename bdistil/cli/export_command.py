"""``bdistil export``."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bdistil.cli.arguments import Modules, Run
from bdistil.cli.display import console, output
from bdistil.cli.export_formats import (
    FORMATS,
    NEED_GRAPHS,
    Export,
    check_teacher_is_of_use,
)
from bdistil.errors import SpecError
from bdistil.optional import require_search
from bdistil.spec.user_modules import import_modules
from bdistil.store.durable import check_local
from bdistil.words import counted

if TYPE_CHECKING:
    from bdistil.runs.run_directory import RunDirectory


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(export)


def export(
    context: typer.Context,
    directory: Run,
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
    module: Modules = None,
) -> None:
    """Write the ensemble as safetensors, config.json and a model card, and in other formats."""
    require_search()
    import_modules(module or [])
    from bdistil.export.web_export import find_runtime
    from bdistil.searching.result import SearchResult

    if out is not None:
        check_local(out)
        check_output(out)
    if web_runtime is not None and not web:
        raise SpecError("--web-runtime is for the page of --web; give both, or neither.")
    page_runtime = find_runtime(web_runtime) if web else None
    result = SearchResult.of(directory)
    run = result.run
    rounds = len(run.journal.read())
    if rounds and not result.complete:
        so_far = counted(rounds, "round")
        console.print(
            f"The search has not ended ({so_far} so far); `bdistil resume {run.place}` goes on."
        )
    target = out or run.ensemble
    check_outside(target, run)
    if stages is not None and out is None:
        raise SpecError("--stages needs --out, because the run keeps its whole ensemble.")
    ensemble = result.build_ensemble()
    if stages is not None:
        ensemble = result.first_stages(ensemble, stages)
    wanted = {name for name in FORMATS if context.params[name]}
    if wanted & NEED_GRAPHS:
        wanted.add("onnx")
    if "int8_anyway" in wanted:  # which writes the same graphs, whatever they are worth
        wanted.discard("int8")
    if with_teacher:
        check_teacher_is_of_use(ensemble)
    with ensemble.saving(target) as folder:
        output.print(run.shown(target))
        export = Export(result, ensemble, folder, target, page_runtime)
        for name, write in FORMATS.items():
            if name in wanted:
                console.print(f"Writing and checking {name.replace('_', ' ')} ...")
                write(export)
    for place in export.outdated:
        shutil.rmtree(place, ignore_errors=True)
    run.keep()


def check_outside(folder: Path, run: RunDirectory) -> None:
    """Refuse the run itself and what the search keeps in it.

    Raises:
        SpecError: if it is one of these.
    """
    there, own = folder.resolve(), run.path.resolve()
    if there == run.ensemble.resolve() or not there.is_relative_to(own):
        return
    first, *_ = (*there.relative_to(own).parts, "")
    if first in ("", "students", "teacher", "open", run.ensemble.name):
        raise SpecError(
            f"--out {folder} is the search's own; choose another folder, or leave --out away."
        )


def check_output(folder: Path) -> None:
    """Refuse a folder that is in use for other things.

    Raises:
        SpecError: if it holds files and no saved ensemble.
    """
    from bdistil.runtime.config_file import CONFIG_FILE
    from bdistil.store.durable import PARTIAL

    if not folder.is_dir() or (folder / CONFIG_FILE).is_file():
        return
    if any(not path.name.endswith(PARTIAL) for path in folder.iterdir()):
        raise SpecError(
            f"--out {folder} holds other files and no saved ensemble; choose a new or an empty "
            "folder, or one that bdistil exported to."
        )
